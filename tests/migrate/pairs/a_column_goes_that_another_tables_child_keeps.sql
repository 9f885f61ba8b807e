-- FROM
CREATE TABLE p (a int, note text) PARTITION BY LIST (a);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE parent (id int, note text);
CREATE TABLE child () INHERITS (parent);
-- ROWS
INSERT INTO child VALUES (1, 'kept');
-- TO
CREATE TABLE p (a int) PARTITION BY LIST (a);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE parent (id int);
CREATE TABLE child (note text) INHERITS (parent);
