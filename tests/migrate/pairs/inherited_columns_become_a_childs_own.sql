-- FROM
CREATE TABLE first (z int);
CREATE TABLE parent (a int DEFAULT 1, b int, CONSTRAINT positive CHECK (b > 0));
CREATE TABLE child (x int) INHERITS (first, parent);
CREATE TABLE sibling (x int) INHERITS (parent);
CREATE TABLE strict (x int) INHERITS (parent);
CREATE VIEW v AS SELECT * FROM child;
CREATE TABLE above (a int DEFAULT 7);
CREATE TABLE below () INHERITS (above);
-- ROWS
INSERT INTO child VALUES (1, 2, 3, 4);
-- TO
CREATE TABLE first (z int);
CREATE TABLE parent (a int DEFAULT 1, b int, CONSTRAINT positive CHECK (b > 0));
CREATE TABLE child (a int DEFAULT 2, x int) INHERITS (first, parent);
CREATE TABLE sibling (x int) INHERITS (parent);
CREATE TABLE strict (b int, CONSTRAINT positive CHECK (b > 0), x int) INHERITS (parent);
CREATE VIEW v AS SELECT z, a, b, x FROM child;
CREATE TABLE above (a int, CONSTRAINT small CHECK (a < 9));
CREATE TABLE below (a int DEFAULT 8) INHERITS (above);
