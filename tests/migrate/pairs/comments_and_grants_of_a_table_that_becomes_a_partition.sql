-- FROM
DO $$BEGIN IF to_regrole('dr_reader') IS NULL THEN CREATE ROLE dr_reader; END IF; END$$;
CREATE TABLE p (a int, b int) PARTITION BY LIST (a);
CREATE TABLE p1 (a int, b int);
COMMENT ON COLUMN p1.a IS 'goes';
COMMENT ON COLUMN p1.b IS 'stays';
GRANT SELECT (a), UPDATE (b) ON p1 TO dr_reader;
-- TO
DO $$BEGIN IF to_regrole('dr_reader') IS NULL THEN CREATE ROLE dr_reader; END IF; END$$;
CREATE TABLE p (a int, b int) PARTITION BY LIST (a);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
COMMENT ON COLUMN p1.b IS 'stays';
GRANT UPDATE (b) ON p1 TO dr_reader;
