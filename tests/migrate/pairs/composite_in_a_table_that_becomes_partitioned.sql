-- FROM
CREATE TYPE c AS (a int, b int);
CREATE TYPE d AS (c c, cs c[]);
CREATE TABLE t (id int, v c, w d);
-- ROWS
INSERT INTO t VALUES (1, ROW(1, 2), ROW(ROW(3, 4), ARRAY[ROW(5, 6)::c])), (2, NULL, NULL);
-- TO
CREATE TYPE c AS (b int, a int);
CREATE TYPE d AS (c c, cs c[]);
CREATE TABLE t (id int, v c, w d) PARTITION BY RANGE (id);
CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (9);
