-- FROM
CREATE TABLE parent (a int NOT NULL, b int, CONSTRAINT positive CHECK (b > 0));
CREATE TABLE child (x int, CONSTRAINT positive CHECK (b > 0)) INHERITS (parent);
ALTER TABLE child ALTER a SET NOT NULL;
CREATE TABLE sibling (x int) INHERITS (parent);
-- ROWS
INSERT INTO child VALUES (1, 2, 3);
INSERT INTO sibling VALUES (4, 5, 6);
-- TO
CREATE TABLE parent (a int NOT NULL, b int, CONSTRAINT positive CHECK (b > 0));
CREATE TABLE child (x int) INHERITS (parent);
CREATE TABLE sibling (x int) INHERITS (parent);
