-- FROM
CREATE TABLE t (id int, a text, CONSTRAINT k PRIMARY KEY (id));
CREATE VIEW v AS SELECT id, a, count(*) FROM t GROUP BY id;
-- TO
CREATE TABLE t (id int, a text, CONSTRAINT k PRIMARY KEY (id) INCLUDE (a));
CREATE VIEW v AS SELECT id, a, count(*) FROM t GROUP BY id;
