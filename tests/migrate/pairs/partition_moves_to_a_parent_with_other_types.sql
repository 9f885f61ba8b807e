-- A partition that moves to another parent gets that one's types, and NULLs where it allows them.
-- FROM
CREATE TABLE p (k int, v int NOT NULL DEFAULT 4) PARTITION BY RANGE (k);
CREATE TABLE q (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE part PARTITION OF p FOR VALUES FROM (0) TO (100);
-- ROWS
INSERT INTO p VALUES (1, 2);
-- TO
CREATE TABLE p (k int, v int NOT NULL DEFAULT 4) PARTITION BY RANGE (k);
CREATE TABLE q (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE part PARTITION OF q FOR VALUES FROM (0) TO (100);
