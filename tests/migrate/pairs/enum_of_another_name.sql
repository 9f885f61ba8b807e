-- FROM
CREATE TYPE e AS ENUM ('a', 'b');
CREATE DOMAIN d AS e;
CREATE TABLE t (x e DEFAULT 'a', y e[], z d, CHECK (x <> 'b'));
CREATE VIEW v AS SELECT x FROM t WHERE x = 'a';
CREATE INDEX i ON t (x) WHERE x = 'a';
-- ROWS
INSERT INTO t VALUES ('a', '{a,b}', 'b');
-- TO
CREATE TYPE "E e" AS ENUM ('a', 'b');
CREATE DOMAIN d AS "E e";
CREATE TABLE t (x "E e" DEFAULT 'a', y "E e"[], z d, CHECK (x <> 'b'));
CREATE VIEW v AS SELECT x FROM t WHERE x = 'a';
CREATE INDEX i ON t (x) WHERE x = 'a';
