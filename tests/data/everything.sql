CREATE EXTENSION citext;
CREATE EXTENSION btree_gist;
CREATE TYPE "OrderState" AS ENUM ('new', 'it''s paid', 'a:b');
CREATE TYPE address AS (street text, zip varchar(10));
CREATE DOMAIN positive AS integer DEFAULT 1 CHECK (VALUE > 0);
CREATE DOMAIN mail AS citext;
CREATE SEQUENCE invoice_no START 1000 INCREMENT 5;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW."updatedAt" := now(); RETURN NEW; END $$;
CREATE FUNCTION slug(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT lower(replace(t, ' ', '-')) $$;
CREATE TABLE "User Accounts" (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email mail NOT NULL UNIQUE,
  "firstName" text NOT NULL,
  "class" text, "metadata" jsonb DEFAULT '{"a": ":b"}', "2fa" boolean NOT NULL DEFAULT false,
  slug text GENERATED ALWAYS AS (slug("firstName")) STORED,
  home address, tags text[] NOT NULL DEFAULT '{}', roles "OrderState"[],
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
CREATE TABLE events (id bigint, at timestamptz NOT NULL, kind text) PARTITION BY RANGE (at);
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE INDEX ON events (at);
CREATE UNLOGGED TABLE cache (k text PRIMARY KEY, v text) WITH (fillfactor=70);
CREATE TABLE bookings (room int, during tstzrange, EXCLUDE USING gist (room WITH =, during WITH &&));
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
