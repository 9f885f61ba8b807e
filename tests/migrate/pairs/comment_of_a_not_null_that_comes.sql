-- SINCE 18
-- What is set on a NOT NULL by its name finds it there, also where a column becomes required.
-- FROM
CREATE TABLE p (a int, b int);
CREATE TABLE child () INHERITS (p);
CREATE TABLE grandchild () INHERITS (child);
-- ROWS
INSERT INTO p VALUES (1, 2);
-- TO
CREATE TABLE p (a int CONSTRAINT wanted NOT NULL, b int CONSTRAINT "b's" NOT NULL NO INHERIT);
CREATE TABLE child () INHERITS (p);
CREATE TABLE grandchild () INHERITS (child);
ALTER TABLE grandchild ALTER b SET NOT NULL;
COMMENT ON CONSTRAINT wanted ON p IS 'why';
COMMENT ON CONSTRAINT "b's" ON p IS 'because';
