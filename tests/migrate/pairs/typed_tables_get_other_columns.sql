-- FROM
CREATE TYPE row_of AS (a int, b text);
CREATE TABLE t OF row_of (PRIMARY KEY (a), b DEFAULT 'x');
CREATE TABLE u OF row_of;
CREATE VIEW v AS SELECT a FROM u;
-- ROWS
INSERT INTO t VALUES (1);
-- TO
CREATE TYPE row_of AS (a bigint, b text, c date);
CREATE TABLE t OF row_of (PRIMARY KEY (a), b DEFAULT 'x');
CREATE TABLE u (a int, b text);
CREATE VIEW v AS SELECT a FROM u;
