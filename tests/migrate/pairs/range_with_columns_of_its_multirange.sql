-- FROM
CREATE TYPE span AS RANGE (subtype = int, multirange_type_name = spans);
CREATE DOMAIN free AS spans CHECK (VALUE IS NOT NULL);
CREATE FUNCTION first_of(spans) RETURNS int LANGUAGE sql AS 'SELECT lower($1)::int';
CREATE TABLE t (id int PRIMARY KEY, one span, many spans DEFAULT '{[1,2)}', lists spans[], open free);
CREATE VIEW v AS SELECT id, many, first_of(many) FROM t;
CREATE INDEX ON t USING gist (many);
-- ROWS
INSERT INTO t VALUES (1, '[1,5)', '{[1,3),[7,9)}', ARRAY['{[1,3)}', '{}']::spans[], '{[2,4)}'), (2, NULL, NULL, NULL, '{}');
-- TO
CREATE TYPE span AS RANGE (subtype = bigint, multirange_type_name = spans);
CREATE DOMAIN free AS spans CHECK (VALUE IS NOT NULL);
CREATE FUNCTION first_of(spans) RETURNS int LANGUAGE sql AS 'SELECT lower($1)::int';
CREATE TABLE t (id int PRIMARY KEY, one span, many spans DEFAULT '{[1,2)}', lists spans[], open free);
CREATE VIEW v AS SELECT id, many, first_of(many) FROM t;
CREATE INDEX ON t USING gist (many);
