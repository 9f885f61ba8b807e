-- FROM
CREATE TYPE c AS (a int, b text);
CREATE TABLE t (id int PRIMARY KEY, x c, y c[], z c DEFAULT '(1,q)');
CREATE VIEW v AS SELECT (x).a FROM t;
CREATE FUNCTION f(c) RETURNS int LANGUAGE sql AS 'SELECT ($1).a';
-- ROWS
INSERT INTO t VALUES (1, '(1,"a,\"b")', ARRAY['(1,x)', '(,)', NULL]::c[], NULL), (2, NULL, NULL, '(2,)'), (3, '(,)', '{}', DEFAULT);
-- TO
CREATE TYPE c AS (b text, a bigint);
CREATE TABLE t (id int PRIMARY KEY, x c, y c[], z c DEFAULT '(q,1)');
CREATE VIEW v AS SELECT (x).a FROM t;
CREATE FUNCTION f(c) RETURNS int LANGUAGE sql AS 'SELECT ($1).a';
