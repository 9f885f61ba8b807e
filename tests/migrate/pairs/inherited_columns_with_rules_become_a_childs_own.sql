-- SINCE 16
-- FROM
CREATE TABLE parent (a int, b int NOT NULL, c int CHECK (c > 0), g int GENERATED ALWAYS AS (a * 2) STORED);
CREATE TABLE other (a int, e text COLLATE "C");
CREATE TABLE child (x int) INHERITS (parent, other);
CREATE TABLE below (z int) INHERITS (child);
-- ROWS
INSERT INTO below (a, b, c, e, x, z) VALUES (1, 2, 3, 'e', 4, 5);
-- TO
CREATE TABLE parent (a int, b int NOT NULL, c int CHECK (c > 0), g int GENERATED ALWAYS AS (a * 2) STORED);
CREATE TABLE other (a int, e text COLLATE "C");
CREATE TABLE child (a int, b int, x int, e text COLLATE "C", g int GENERATED ALWAYS AS (a * 2) STORED)
    INHERITS (parent, other);
CREATE TABLE below (c int, z int) INHERITS (child);
