-- A database with a bit of everything that PostgreSQL has: for dumps to carry, for models and
-- comparisons to know.  What needs an extension is in extensions.sql.
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

CREATE TYPE "OrderState" AS ENUM ('new', 'it''s paid', 'a:b');
CREATE TYPE place AS (street text, zip varchar(10));
CREATE DOMAIN positive AS integer DEFAULT 1 CHECK (VALUE > 0);
CREATE SEQUENCE invoice_no START 1000 INCREMENT 5;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW."updatedAt" := now(); RETURN NEW; END $$;
CREATE FUNCTION slug(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT lower(replace(t, ' ', '-')) $$;
CREATE TABLE "User Accounts" (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email email NOT NULL UNIQUE,
  "firstName" text NOT NULL,
  "class" text, "metadata" jsonb DEFAULT '{"a": ":b"}', "2fa" boolean NOT NULL DEFAULT false,
  slug text GENERATED ALWAYS AS (slug("firstName")) STORED,
  home place, tags text[] NOT NULL DEFAULT '{}', roles "OrderState"[],
  "updatedAt" timestamptz NOT NULL DEFAULT now(), born date, ip inet, span tstzrange, price money, doc tsvector, c char(3) COLLATE "C",
  f real, d double precision, b bytea, u uuid DEFAULT gen_random_uuid(), t time, i interval, x xml, bits bit(4), n numeric, n2 numeric(12,4),
  manager bigint REFERENCES "User Accounts" (id) ON DELETE SET NULL,
  CONSTRAINT "name is long" CHECK (length("firstName") > 1 AND "firstName" <> ':x %')
);
COMMENT ON TABLE "User Accounts" IS 'People; 100% of them: all';
COMMENT ON COLUMN "User Accounts".email IS 'It''s unique';
CREATE UNIQUE INDEX "ua lower" ON "User Accounts" (lower("firstName"), id DESC) INCLUDE (born) WHERE born IS NOT NULL;
CREATE INDEX ua_tags ON "User Accounts" USING gin (tags);
CREATE INDEX ua_pat ON "User Accounts" (slug text_pattern_ops);
CREATE INDEX ua_exp ON "User Accounts" ((metadata ->> 'a'));
CREATE TABLE orders (id serial PRIMARY KEY, no integer NOT NULL DEFAULT nextval('invoice_no'), state "OrderState" NOT NULL DEFAULT 'it''s paid', qty positive, customer_id bigint NOT NULL, buyer_id bigint NOT NULL REFERENCES "User Accounts", 
  CONSTRAINT fk_customer FOREIGN KEY (customer_id) REFERENCES "User Accounts"(id) ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED, UNIQUE NULLS NOT DISTINCT (no, state));
CREATE TABLE order_items (order_id int, line smallint, sku text, PRIMARY KEY (order_id, line), FOREIGN KEY (order_id) REFERENCES orders ON DELETE CASCADE);
CREATE TABLE shipments (order_id int, line smallint, ref text, FOREIGN KEY (order_id, line) REFERENCES order_items);
CREATE TABLE a (id int PRIMARY KEY, b_id int); CREATE TABLE b (id int PRIMARY KEY, a_id int REFERENCES a); ALTER TABLE a ADD FOREIGN KEY (b_id) REFERENCES b;
CREATE TABLE visits (id bigint, at timestamptz NOT NULL, kind text) PARTITION BY RANGE (at);
CREATE TABLE visits_2026 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE INDEX ON visits (at);
CREATE UNLOGGED TABLE cache (k text PRIMARY KEY, v text) WITH (fillfactor=70);
CREATE TABLE closures (during tstzrange, EXCLUDE USING gist (during WITH &&));
CREATE TABLE logs (id bigserial, created_at timestamptz, PRIMARY KEY (id)); ALTER SEQUENCE logs_id_seq RESTART;
CREATE VIEW totals AS SELECT customer_id, count(*) AS n FROM orders GROUP BY 1;
CREATE VIEW totals2 AS SELECT * FROM totals WHERE n > 1;
CREATE MATERIALIZED VIEW mtotals AS SELECT * FROM totals2; CREATE UNIQUE INDEX ON mtotals (customer_id);
CREATE FUNCTION last_order(c bigint) RETURNS orders LANGUAGE sql STABLE AS $$ SELECT * FROM orders WHERE customer_id = c ORDER BY id DESC LIMIT 1 $$;
CREATE TRIGGER touch BEFORE UPDATE ON "User Accounts" FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON orders FOR SELECT USING (customer_id = 1);
CREATE TABLE a2 (b_id int, CONSTRAINT a_b_id_fkey FOREIGN KEY (b_id) REFERENCES b);
CREATE STATISTICS st ON no, state FROM orders;
CREATE TABLE odd ("weird ""name""" int, "%" text, "a:b" text);
