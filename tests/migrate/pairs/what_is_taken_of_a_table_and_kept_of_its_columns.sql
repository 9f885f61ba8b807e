-- FROM
DO $$BEGIN IF to_regrole('dr_reader') IS NULL THEN CREATE ROLE dr_reader; END IF; END$$;
CREATE TABLE t (a int, b int);
GRANT SELECT, UPDATE ON t TO dr_reader;
GRANT SELECT (a) ON t TO dr_reader;
CREATE TABLE u (a int, b int);
GRANT SELECT ON u TO dr_reader;
CREATE VIEW v AS SELECT 1 AS a, 2 AS b;
GRANT SELECT ON v TO dr_reader;
GRANT USAGE ON SCHEMA public TO dr_reader;
-- TO
DO $$BEGIN IF to_regrole('dr_reader') IS NULL THEN CREATE ROLE dr_reader; END IF; END$$;
CREATE TABLE t (a int, b int);
GRANT SELECT (a), UPDATE (b) ON t TO dr_reader;
CREATE TABLE u (a int, b int);
GRANT SELECT (a) ON u TO dr_reader;
CREATE VIEW v AS SELECT 1 AS a, 2 AS b;
GRANT SELECT (b) ON v TO dr_reader;
GRANT CREATE ON SCHEMA public TO dr_reader;
