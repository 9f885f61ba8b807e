-- FROM
CREATE TEXT SEARCH CONFIGURATION my (COPY = english);
CREATE TABLE t (id int, b text);
CREATE INDEX i ON t USING gin (to_tsvector('my', b));
-- TO
CREATE TEXT SEARCH DICTIONARY "My d" (TEMPLATE = snowball, LANGUAGE = 'english', STOPWORDS = 'english');
CREATE TEXT SEARCH CONFIGURATION my (COPY = english);
ALTER TEXT SEARCH CONFIGURATION my ALTER MAPPING FOR asciiword WITH "My d", simple;
COMMENT ON TEXT SEARCH CONFIGURATION my IS 'mine';
CREATE CONVERSION to_latin FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1;
CREATE TABLE t (id int, b text);
CREATE INDEX i ON t USING gin (to_tsvector('my', b));
