-- SINCE 18
-- NOT NULL NOT VALID of a partition or child is another than one that holds for all its rows.
-- FROM
CREATE TABLE p (a int, b int, c int) PARTITION BY LIST (a);
CREATE TABLE p1 PARTITION OF p DEFAULT;
ALTER TABLE p1 ADD CONSTRAINT p1_b_not_null NOT NULL b NOT VALID;
ALTER TABLE p1 ALTER c SET NOT NULL;
CREATE TABLE parent (a int);
CREATE TABLE child () INHERITS (parent);
ALTER TABLE child ADD CONSTRAINT child_a_not_null NOT NULL a NOT VALID;
-- TO
CREATE TABLE p (a int, b int NOT NULL, c int) PARTITION BY LIST (a);
CREATE TABLE p1 PARTITION OF p DEFAULT;
ALTER TABLE p1 ADD CONSTRAINT p1_c_not_null NOT NULL c NOT VALID;
CREATE TABLE parent (a int);
CREATE TABLE child () INHERITS (parent);
