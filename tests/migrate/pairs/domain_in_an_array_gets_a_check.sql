-- FROM
CREATE DOMAIN d AS int[] CHECK (array_length(VALUE, 1) < 5);
CREATE TYPE row_of AS (x d, y text);
CREATE TABLE t (a d, b d[], c row_of[]);
CREATE VIEW v AS SELECT b FROM t;
-- ROWS
INSERT INTO t VALUES ('{1,2}', ARRAY['{3}'::d], '{"({4},y)"}');
-- TO
CREATE DOMAIN d AS int[] DEFAULT '{1}' CHECK (array_length(VALUE, 1) < 50) CONSTRAINT positive CHECK (VALUE[1] > 0);
ALTER DOMAIN d ADD CONSTRAINT later CHECK (VALUE[2] > 100) NOT VALID;
CREATE TYPE row_of AS (x d, y text);
CREATE TABLE t (a d, b d[], c row_of[]);
CREATE VIEW v AS SELECT b FROM t;
