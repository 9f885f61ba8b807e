-- FROM
CREATE SCHEMA other;
SET search_path = other;
CREATE FUNCTION f(i int) RETURNS int LANGUAGE sql AS 'SELECT CASE WHEN i < 1 THEN 0 ELSE f(i - 1) END';
-- TO
CREATE SCHEMA other;
SET search_path = other;
CREATE FUNCTION f(i int) RETURNS bigint LANGUAGE sql AS 'SELECT CASE WHEN i < 1 THEN 0 ELSE f(i - 1) END';
