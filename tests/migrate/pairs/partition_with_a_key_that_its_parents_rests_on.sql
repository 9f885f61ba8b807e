-- FROM
CREATE TABLE t (id int NOT NULL, foo text DEFAULT 'x', bar text NOT NULL, CHECK (id > 0)) PARTITION BY LIST (foo);
CREATE UNIQUE INDEX i ON t (foo, bar);
-- TO
CREATE TABLE t (id int NOT NULL, foo text DEFAULT 'x', bar text NOT NULL, CHECK (id > 0)) PARTITION BY LIST (foo);
CREATE TABLE t1 PARTITION OF t (PRIMARY KEY (foo, bar)) FOR VALUES IN ('1');
CREATE UNIQUE INDEX i ON t (foo, bar);
