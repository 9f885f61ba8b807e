-- FROM
CREATE FUNCTION same(int, int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 = $2';
CREATE FUNCTION other(int, int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 <> $2';
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = same);
CREATE TABLE t (a int, b int, c bool GENERATED ALWAYS AS (a === b) STORED, d bool DEFAULT (1 === 2), CHECK (a === a));
CREATE VIEW v AS SELECT a FROM t WHERE a === b;
CREATE INDEX i ON t ((a === b));
-- TO
CREATE FUNCTION alike(x int, y int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 = $2';
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = alike);
COMMENT ON OPERATOR === (int, int) IS 'it''s the same';
CREATE FUNCTION cmp(int, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT btint4cmp($2, $1)';
CREATE OPERATOR CLASS rev FOR TYPE int USING btree AS OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 cmp(int, int);
CREATE OPERATOR FAMILY fam USING btree;
ALTER OPERATOR FAMILY fam USING btree ADD OPERATOR 1 <(int, bigint), FUNCTION 1 (int, bigint) btint48cmp(int, bigint);
CREATE TABLE t (a int, b int, c bool GENERATED ALWAYS AS (a === b) STORED, d bool DEFAULT (1 === 2), CHECK (a === a));
CREATE VIEW v AS SELECT a FROM t WHERE a === b;
CREATE INDEX i ON t ((a === b));
CREATE INDEX r ON t (b rev);
