-- FROM
CREATE TABLE t (a int PRIMARY KEY, b int) PARTITION BY LIST (a);
CREATE TABLE p PARTITION OF t FOR VALUES IN (1);
CREATE INDEX i ON t (b) WITH (fillfactor = 70);
CREATE INDEX j ON t (a, b) WITH (fillfactor = 70);
COMMENT ON INDEX p_a_b_idx IS 'stays';
-- TO
CREATE TABLE t (a int PRIMARY KEY, b int) PARTITION BY LIST (a);
CREATE TABLE p PARTITION OF t FOR VALUES IN (1);
CREATE INDEX i ON t (b) WITH (fillfactor = 70);
CREATE INDEX j ON t (a, b) WITH (fillfactor = 70);
ALTER INDEX p_b_idx SET (fillfactor = 50);
ALTER INDEX p_a_b_idx RESET (fillfactor);
ALTER INDEX p_pkey SET (fillfactor = 40);
COMMENT ON INDEX p_pkey IS 'of a key';
COMMENT ON INDEX p_b_idx IS 'of a part';
COMMENT ON INDEX p_a_b_idx IS 'stays';
