-- FROM
CREATE TABLE t (a int CONSTRAINT must NOT NULL, b int NOT NULL, c int);
COMMENT ON CONSTRAINT must ON t IS 'kept';
-- TO
CREATE TABLE t (a int NOT NULL, b int CONSTRAINT has_to NOT NULL, c int CONSTRAINT shall NOT NULL);
COMMENT ON CONSTRAINT has_to ON t IS 'new';
COMMENT ON CONSTRAINT shall ON t IS 'new as well';
