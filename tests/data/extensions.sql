-- Columns and constraints of what extensions bring, beside everything.sql.
CREATE EXTENSION citext;
CREATE EXTENSION btree_gist;
CREATE DOMAIN mail AS citext;
CREATE TABLE subscribers (id int PRIMARY KEY, email mail NOT NULL UNIQUE, nick citext);
CREATE TABLE bookings (room int, during tstzrange, EXCLUDE USING gist (room WITH =, during WITH &&));
