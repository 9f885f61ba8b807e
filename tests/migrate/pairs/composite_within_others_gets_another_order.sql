-- FROM
CREATE TYPE inside AS (a int, b text);
CREATE DOMAIN kept AS inside CHECK ((VALUE).a IS DISTINCT FROM 0);
CREATE TYPE outside AS (one inside, many inside[], n int, own kept);
CREATE TYPE around AS (o outside, os outside[]);
CREATE TABLE t (id int PRIMARY KEY, i inside, ii inside[], k kept, o outside, oo outside[], a around);
CREATE VIEW v AS SELECT id, (o).one FROM t;
-- ROWS
INSERT INTO t SELECT 1, i, ARRAY[i, NULL, i], i, o, ARRAY[o, NULL], ROW(o, ARRAY[o])::around
FROM (SELECT ROW(1, 'x "y", (z)')::inside AS i) AS x,
    LATERAL (SELECT ROW(i, ARRAY[i, i], 5, i)::outside AS o) AS y;
INSERT INTO t (id) VALUES (2);
INSERT INTO t VALUES (3, ROW(NULL, NULL), '{}', NULL, ROW(NULL, NULL, NULL, NULL), '{}', ROW(NULL, NULL));
-- TO
CREATE TYPE inside AS (b text, c date, a bigint);
CREATE DOMAIN kept AS inside CHECK ((VALUE).a IS DISTINCT FROM 0);
CREATE TYPE outside AS (one inside, many inside[], n int, own kept);
CREATE TYPE around AS (o outside, os outside[]);
CREATE TABLE t (id int PRIMARY KEY, i inside, ii inside[], k kept, o outside, oo outside[], a around);
CREATE VIEW v AS SELECT id, (o).one FROM t;
