-- The default goes before the function that it calls, and that before the type of both.
-- FROM
CREATE TYPE pair AS (a int, b text);
CREATE TYPE mood AS ENUM ('calm', 'cross');
CREATE FUNCTION usual(x pair DEFAULT ROW(1, 'z')::pair) RETURNS pair LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION first() RETURNS mood LANGUAGE sql AS $$SELECT 'calm'::mood$$;
CREATE TABLE t (x pair DEFAULT usual(), y pair[], m mood DEFAULT first(), n mood DEFAULT 'cross', s text DEFAULT first()::text);
CREATE VIEW v AS SELECT (x).b, y, m FROM t;
-- ROWS
INSERT INTO t VALUES (ROW(1, 'q'), ARRAY[ROW(2, 'w')::pair], 'calm', 'cross', 'x');
-- TO
CREATE TYPE pair AS (a bigint, b text, d date);
CREATE TYPE mood AS ENUM ('cross', 'calm');
CREATE FUNCTION usual(x pair DEFAULT ROW(1, 'z', NULL)::pair) RETURNS pair LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION first() RETURNS mood LANGUAGE sql AS $$SELECT 'cross'::mood$$;
CREATE TABLE t (x pair DEFAULT usual(), y pair[], m mood DEFAULT first(), n mood DEFAULT 'calm', s text DEFAULT first()::text);
CREATE VIEW v AS SELECT (x).b, y, m FROM t;
