-- A database with a bit of everything that a dump must carry.
CREATE SCHEMA "odd Schema";
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s "fine"');
CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
CREATE TYPE address AS (street text, zip int);
CREATE SEQUENCE lonely START 42;
SELECT nextval('lonely'), nextval('lonely');

CREATE TABLE people (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    feels mood DEFAULT 'ok',
    mail email,
    home address,
    shout text GENERATED ALWAYS AS (upper(name)) STORED,
    tags text[] DEFAULT '{}',
    payload bytea,
    changed int NOT NULL DEFAULT 0
);
CREATE TABLE "odd Schema"."Tä""ble" (id int PRIMARY KEY, person bigint REFERENCES people, "sel ect" jsonb);
CREATE TABLE late (person bigint);
ALTER TABLE late ADD CONSTRAINT late_person FOREIGN KEY (person) REFERENCES people NOT VALID;
CREATE TABLE events (at timestamptz NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE TABLE parent (a int);
CREATE TABLE child (b int) INHERITS (parent);
CREATE UNLOGGED TABLE scratch (a int);

CREATE FUNCTION count_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.changed := NEW.changed + 1; RETURN NEW; END $$;
CREATE TRIGGER counts BEFORE INSERT OR UPDATE ON people FOR EACH ROW EXECUTE FUNCTION count_change();
CREATE RULE no_delete AS ON DELETE TO late DO INSTEAD NOTHING;

INSERT INTO people (name, mail, home, tags, payload)
SELECT 'n' || n || E'\n\t\\ "' || chr(200 + n % 500), n || '@x', ROW('s ' || n, n)::address,
    ARRAY['a', NULL, 'b"c'], decode(md5(n::text), 'hex')
FROM generate_series(1, 500) n;
INSERT INTO "odd Schema"."Tä""ble" SELECT n, n, jsonb_build_object('n', n) FROM generate_series(1, 50) n;
INSERT INTO events SELECT '2024-06-01'::timestamptz + n * '1 day'::interval, 'e' || n
FROM generate_series(1, 400) n;
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (2, 3);
INSERT INTO scratch VALUES (1);

CREATE VIEW moods AS SELECT feels, count(*) FROM people GROUP BY 1;
CREATE MATERIALIZED VIEW z_first AS SELECT feels, count(*) AS n FROM people GROUP BY 1;
CREATE MATERIALIZED VIEW a_second AS SELECT sum(n) AS n FROM z_first;
CREATE MATERIALIZED VIEW empty AS SELECT * FROM a_second WITH NO DATA;
CREATE UNIQUE INDEX ON z_first (feels);
CREATE INDEX by_shout ON people (shout) WHERE changed > 0;
CREATE STATISTICS people_stats ON name, feels FROM people;

ALTER TABLE people ENABLE ROW LEVEL SECURITY;
ALTER TABLE people FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON people USING (name = current_user);
COMMENT ON TABLE people IS 'who';
GRANT SELECT ON people TO PUBLIC;
CREATE PUBLICATION everything FOR TABLE events;

SELECT lo_from_bytea(0, decode(repeat(md5(n::text), 5000), 'hex')) FROM generate_series(1, 5) n;
SELECT lo_create(4711);
COMMENT ON LARGE OBJECT 4711 IS 'empty';
GRANT SELECT ON LARGE OBJECT 4711 TO PUBLIC;
