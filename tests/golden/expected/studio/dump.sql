SET check_function_bodies = false;

--
-- Name: public; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA IF NOT EXISTS public;

--
-- Name: SCHEMA public; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON SCHEMA public IS 'standard public schema';

--
-- Name: status; Type: TYPE; Schema: public; Owner: -
--

CREATE TYPE public.status AS ENUM (
    'NEW',
    'FAILED'
);

--
-- Name: customers; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.customers (
    id bigint NOT NULL,
    name text NOT NULL,
    email text,
    password_hash text,
    notes text,
    tags text[],
    profile jsonb,
    balance numeric(10,2) DEFAULT 0,
    created_at timestamp with time zone NOT NULL
);

--
-- Name: TABLE customers; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.customers IS 'Who buys — 顧客';

--
-- Name: COLUMN customers.email; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.customers.email IS 'may be missing';

--
-- Name: orders; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.orders (
    "Order No" integer NOT NULL,
    customer_id bigint,
    status public.status DEFAULT 'NEW'::public.status NOT NULL,
    total numeric,
    at timestamp without time zone,
    CONSTRAINT orders_total_check CHECK ((total >= (0)::numeric))
);

--
-- Name: recent; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.recent AS
 SELECT "Order No",
    customer_id,
    status,
    total,
    at
   FROM public.orders;

--
-- Name: customers customers_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.customers
    ADD CONSTRAINT customers_pkey PRIMARY KEY (id);

--
-- Name: orders orders_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_pkey PRIMARY KEY ("Order No");

--
-- Name: ix_customers_created_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_customers_created_at ON public.customers USING btree (created_at DESC) WHERE (email IS NOT NULL);

--
-- Name: orders orders_customer_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES public.customers(id) ON DELETE CASCADE;
