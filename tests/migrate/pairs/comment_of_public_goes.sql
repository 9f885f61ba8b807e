-- FROM
COMMENT ON SCHEMA public IS 'mine';
-- TO
CREATE TABLE t (id int);
