-- FROM
CREATE TABLE parent (id int, v int CONSTRAINT positive CHECK (v > 0));
CREATE TABLE child () INHERITS (parent);
-- ROWS
INSERT INTO child VALUES (1, 1);
-- TO
CREATE TABLE parent (id int, v int CONSTRAINT positive CHECK (v > 0));
CREATE TABLE child (CONSTRAINT positive CHECK (v > 0)) INHERITS (parent);
