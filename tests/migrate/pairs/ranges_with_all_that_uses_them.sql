-- FROM
CREATE TYPE r AS RANGE (SUBTYPE = int);
CREATE TABLE t (id int, a r DEFAULT '[1,3)', b r[], EXCLUDE USING gist (a WITH &&), CHECK (a <@ r(-100, 100)));
CREATE VIEW v AS SELECT lower(a) AS l, a * r(1, 5) AS m FROM t;
CREATE FUNCTION f(x r) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT lower(x)::int';
CREATE TYPE e AS ENUM ('a', 'b');
CREATE TYPE s AS RANGE (SUBTYPE = e);
CREATE TABLE u (k s);
-- ROWS
INSERT INTO t VALUES (1, '[5,7)', ARRAY['[1,2)', 'empty']::r[]), (2, NULL, NULL);
INSERT INTO u VALUES ('[a,a]');
-- TO
CREATE TYPE r AS RANGE (SUBTYPE = bigint);
CREATE TABLE t (id int, a r DEFAULT '[1,3)', b r[], EXCLUDE USING gist (a WITH &&), CHECK (a <@ r(-100, 100)));
CREATE VIEW v AS SELECT lower(a) AS l, a * r(1, 5) AS m FROM t;
CREATE FUNCTION f(x r) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT lower(x)::int';
CREATE TYPE e AS ENUM ('b', 'a');
CREATE TYPE s AS RANGE (SUBTYPE = e);
CREATE TABLE u (k s);
