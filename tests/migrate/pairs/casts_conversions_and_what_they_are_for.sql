-- FROM
CREATE TYPE pair AS (a int, b int);
CREATE TYPE other AS (a int);
CREATE TYPE third AS (a int);
CREATE FUNCTION sum_of(pair) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1.a + $1.b';
CREATE CAST (pair AS int) WITH FUNCTION sum_of(pair);
CREATE CAST (other AS text) WITH INOUT;
COMMENT ON CAST (other AS text) IS 'goes';
CREATE CAST (third AS text) WITH INOUT;
CREATE CONVERSION theirs FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1;
-- TO
CREATE TYPE pair AS (a int, b int);
CREATE TYPE other AS (a int);
CREATE TYPE third AS (a int);
CREATE FUNCTION sum_of(pair) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1.a + $1.b';
CREATE CAST (pair AS int) WITH FUNCTION sum_of(pair);
COMMENT ON CAST (pair AS int) IS 'it''s; the sum';
CREATE CAST (other AS text) WITH INOUT;
CREATE CAST (third AS text) WITH INOUT AS ASSIGNMENT;
CREATE DEFAULT CONVERSION theirs FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1;
