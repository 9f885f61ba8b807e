-- FROM
CREATE TYPE mood AS ENUM ('a');
CREATE TYPE gone AS (a text, m mood);
CREATE FUNCTION as_gone(int) RETURNS gone LANGUAGE sql AS 'SELECT NULL::gone';
CREATE CAST (int AS gone) WITH FUNCTION as_gone(int);
CREATE TYPE changed AS (a int, m mood);
CREATE FUNCTION as_changed(int) RETURNS changed LANGUAGE sql AS 'SELECT NULL::changed';
CREATE CAST (int AS changed) WITH FUNCTION as_changed(int);
CREATE TABLE t (c changed[]);
-- TO
CREATE TYPE mood AS ENUM ('a', 'b');
CREATE TYPE changed AS (a text, m mood);
CREATE TABLE t (i int, also changed);
