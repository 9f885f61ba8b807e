-- FROM
CREATE TABLE t (a text) WITH (autovacuum_enabled = false, parallel_workers = 2);
-- TO
CREATE TABLE t (a text) WITH (fillfactor = 80, autovacuum_enabled = false);
