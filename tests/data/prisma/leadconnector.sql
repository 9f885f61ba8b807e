--
-- PostgreSQL database dump
--


-- Dumped from database version 18.6
-- Dumped by pg_dump version 18.6

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: AuthType; Type: TYPE; Schema: public; Owner: -
--

CREATE TYPE public."AuthType" AS ENUM (
    'NONE',
    'BASIC',
    'BEARER',
    'API_KEY',
    'CUSTOM'
);


--
-- Name: DeliveryStatus; Type: TYPE; Schema: public; Owner: -
--

CREATE TYPE public."DeliveryStatus" AS ENUM (
    'PENDING',
    'SUCCESS',
    'FAILED',
    'RETRYING'
);


--
-- Name: HttpMethod; Type: TYPE; Schema: public; Owner: -
--

CREATE TYPE public."HttpMethod" AS ENUM (
    'POST',
    'PUT',
    'PATCH'
);


--
-- Name: LeadStatus; Type: TYPE; Schema: public; Owner: -
--

CREATE TYPE public."LeadStatus" AS ENUM (
    'NEW',
    'PROCESSING',
    'DELIVERED',
    'FAILED',
    'ARCHIVED'
);


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: _prisma_migrations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public._prisma_migrations (
    id character varying(36) NOT NULL,
    checksum character varying(64) NOT NULL,
    finished_at timestamp with time zone,
    migration_name character varying(255) NOT NULL,
    logs text,
    rolled_back_at timestamp with time zone,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    applied_steps_count integer DEFAULT 0 NOT NULL
);


--
-- Name: leads; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.leads (
    id text NOT NULL,
    "facebookLeadId" text NOT NULL,
    "pageId" text NOT NULL,
    "formId" text NOT NULL,
    "formName" text NOT NULL,
    "campaignId" text,
    "campaignName" text,
    "adsetId" text,
    "adsetName" text,
    "adId" text,
    "adName" text,
    "leadData" jsonb NOT NULL,
    status public."LeadStatus" DEFAULT 'NEW'::public."LeadStatus" NOT NULL,
    "createdAt" timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    "processedAt" timestamp(3) without time zone
);


--
-- Name: page_webhook_configs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.page_webhook_configs (
    id text NOT NULL,
    "pageId" text NOT NULL,
    "webhookId" text NOT NULL,
    "isActive" boolean DEFAULT true NOT NULL,
    "createdAt" timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);


--
-- Name: pages; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.pages (
    id text NOT NULL,
    "facebookPageId" text NOT NULL,
    name text NOT NULL,
    category text,
    "accessToken" text NOT NULL,
    "isActive" boolean DEFAULT true NOT NULL,
    "userId" text NOT NULL,
    "createdAt" timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    "updatedAt" timestamp(3) without time zone NOT NULL
);


--
-- Name: users; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.users (
    id text NOT NULL,
    email text NOT NULL,
    name text,
    "facebookId" text NOT NULL,
    "accessToken" text NOT NULL,
    "refreshToken" text,
    "tokenExpiry" timestamp(3) without time zone,
    image text,
    "createdAt" timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    "updatedAt" timestamp(3) without time zone NOT NULL,
    "lastLogin" timestamp(3) without time zone
);


--
-- Name: webhook_deliveries; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.webhook_deliveries (
    id text NOT NULL,
    "webhookId" text NOT NULL,
    "leadId" text NOT NULL,
    status public."DeliveryStatus" DEFAULT 'PENDING'::public."DeliveryStatus" NOT NULL,
    "statusCode" integer,
    "responseBody" text,
    error text,
    "attemptNumber" integer DEFAULT 1 NOT NULL,
    "nextRetryAt" timestamp(3) without time zone,
    "createdAt" timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    "completedAt" timestamp(3) without time zone
);


--
-- Name: webhooks; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.webhooks (
    id text NOT NULL,
    "userId" text NOT NULL,
    name text NOT NULL,
    url text NOT NULL,
    method public."HttpMethod" DEFAULT 'POST'::public."HttpMethod" NOT NULL,
    headers jsonb,
    "authType" public."AuthType" DEFAULT 'NONE'::public."AuthType" NOT NULL,
    "authConfig" jsonb,
    "retryCount" integer DEFAULT 3 NOT NULL,
    "timeoutMs" integer DEFAULT 30000 NOT NULL,
    "isActive" boolean DEFAULT true NOT NULL,
    "lastSuccess" timestamp(3) without time zone,
    "lastFailure" timestamp(3) without time zone,
    "createdAt" timestamp(3) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    "updatedAt" timestamp(3) without time zone NOT NULL
);


--
-- Data for Name: _prisma_migrations; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public._prisma_migrations VALUES
	('d70c3015-958f-445a-9dab-0bf13d6f8df0', '0c71cd8e93a7ae3df25ed6a493d377700879c91c2b4d71695055c4ed57639ba9', '2026-11-21 01:34:15.149+00', '20261121013415_initial_schema', NULL, NULL, '2026-11-21 01:34:15.109+00', 1);


--
-- Data for Name: leads; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.leads VALUES
	('cklead000001', 'fbl1', 'ckpage0000000000000000002', 'form1', 'Form 1', 'camp1', NULL, NULL, NULL, NULL, NULL, '{"email": "lead1@example.com", "phone": "+15550000001"}', 'PROCESSING', '2026-09-30 00:00:00', NULL),
	('cklead000002', 'fbl2', 'ckpage0000000000000000003', 'form2', 'Form 2', 'camp2', NULL, NULL, NULL, NULL, NULL, '{"email": "lead2@example.com", "phone": "+15550000002"}', 'DELIVERED', '2026-09-29 00:00:00', NULL),
	('cklead000003', 'fbl3', 'ckpage0000000000000000001', 'form3', 'Form 3', 'camp3', NULL, NULL, NULL, NULL, NULL, '{"email": "lead3@example.com", "phone": "+15550000003"}', 'FAILED', '2026-09-28 00:00:00', NULL),
	('cklead000004', 'fbl4', 'ckpage0000000000000000002', 'form4', 'Form 4', NULL, NULL, NULL, NULL, NULL, NULL, '{"email": "lead4@example.com", "phone": "+15550000004"}', 'ARCHIVED', '2026-09-27 00:00:00', NULL),
	('cklead000005', 'fbl5', 'ckpage0000000000000000003', 'form0', 'Form 0', 'camp5', NULL, NULL, NULL, NULL, NULL, '{"email": "lead5@example.com", "phone": "+15550000005"}', 'NEW', '2026-09-26 00:00:00', NULL),
	('cklead000006', 'fbl6', 'ckpage0000000000000000001', 'form1', 'Form 1', 'camp6', NULL, NULL, NULL, NULL, NULL, '{"email": "lead6@example.com", "phone": "+15550000006"}', 'PROCESSING', '2026-09-25 00:00:00', NULL),
	('cklead000007', 'fbl7', 'ckpage0000000000000000002', 'form2', 'Form 2', 'camp0', NULL, NULL, NULL, NULL, NULL, '{"email": "lead7@example.com", "phone": "+15550000007"}', 'DELIVERED', '2026-09-24 00:00:00', NULL),
	('cklead000008', 'fbl8', 'ckpage0000000000000000003', 'form3', 'Form 3', NULL, NULL, NULL, NULL, NULL, NULL, '{"email": "lead8@example.com", "phone": "+15550000008"}', 'FAILED', '2026-09-23 00:00:00', NULL),
	('cklead000009', 'fbl9', 'ckpage0000000000000000001', 'form4', 'Form 4', 'camp2', NULL, NULL, NULL, NULL, NULL, '{"email": "lead9@example.com", "phone": "+15550000009"}', 'ARCHIVED', '2026-09-22 00:00:00', NULL),
	('cklead000010', 'fbl10', 'ckpage0000000000000000002', 'form0', 'Form 0', 'camp3', NULL, NULL, NULL, NULL, NULL, '{"email": "lead10@example.com", "phone": "+15550000010"}', 'NEW', '2026-09-21 00:00:00', NULL),
	('cklead000011', 'fbl11', 'ckpage0000000000000000003', 'form1', 'Form 1', 'camp4', NULL, NULL, NULL, NULL, NULL, '{"email": "lead11@example.com", "phone": "+15550000011"}', 'PROCESSING', '2026-09-20 00:00:00', NULL),
	('cklead000012', 'fbl12', 'ckpage0000000000000000001', 'form2', 'Form 2', NULL, NULL, NULL, NULL, NULL, NULL, '{"email": "lead12@example.com", "phone": "+15550000012"}', 'DELIVERED', '2026-09-19 00:00:00', NULL),
	('cklead000013', 'fbl13', 'ckpage0000000000000000002', 'form3', 'Form 3', 'camp6', NULL, NULL, NULL, NULL, NULL, '{"email": "lead13@example.com", "phone": "+15550000013"}', 'FAILED', '2026-09-18 00:00:00', NULL),
	('cklead000014', 'fbl14', 'ckpage0000000000000000003', 'form4', 'Form 4', 'camp0', NULL, NULL, NULL, NULL, NULL, '{"email": "lead14@example.com", "phone": "+15550000014"}', 'ARCHIVED', '2026-09-17 00:00:00', NULL),
	('cklead000015', 'fbl15', 'ckpage0000000000000000001', 'form0', 'Form 0', 'camp1', NULL, NULL, NULL, NULL, NULL, '{"email": "lead15@example.com", "phone": "+15550000015"}', 'NEW', '2026-09-16 00:00:00', NULL),
	('cklead000016', 'fbl16', 'ckpage0000000000000000002', 'form1', 'Form 1', NULL, NULL, NULL, NULL, NULL, NULL, '{"email": "lead16@example.com", "phone": "+15550000016"}', 'PROCESSING', '2026-09-15 00:00:00', NULL),
	('cklead000017', 'fbl17', 'ckpage0000000000000000003', 'form2', 'Form 2', 'camp3', NULL, NULL, NULL, NULL, NULL, '{"email": "lead17@example.com", "phone": "+15550000017"}', 'DELIVERED', '2026-09-14 00:00:00', NULL),
	('cklead000018', 'fbl18', 'ckpage0000000000000000001', 'form3', 'Form 3', 'camp4', NULL, NULL, NULL, NULL, NULL, '{"email": "lead18@example.com", "phone": "+15550000018"}', 'FAILED', '2026-09-13 00:00:00', NULL),
	('cklead000019', 'fbl19', 'ckpage0000000000000000002', 'form4', 'Form 4', 'camp5', NULL, NULL, NULL, NULL, NULL, '{"email": "lead19@example.com", "phone": "+15550000019"}', 'ARCHIVED', '2026-09-12 00:00:00', NULL);


--
-- Data for Name: page_webhook_configs; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.page_webhook_configs VALUES
	('ckcfg1', 'ckpage0000000000000000002', 'ckhook0000000000000000002', true, '2026-11-21 02:06:44.731'),
	('ckcfg2', 'ckpage0000000000000000003', 'ckhook0000000000000000003', true, '2026-11-21 02:06:44.731'),
	('ckcfg3', 'ckpage0000000000000000001', 'ckhook0000000000000000004', true, '2026-11-21 02:06:44.731'),
	('ckcfg4', 'ckpage0000000000000000002', 'ckhook0000000000000000001', true, '2026-11-21 02:06:44.731');


--
-- Data for Name: pages; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.pages VALUES
	('ckpage0000000000000000001', 'fbp1', 'Ada''s Bakery', 'Bakery', 'aa15f08fbf87bc718db66f4d81689c1d:107626237b9f7d09b6efe0df6ad51c21:ccd5cb22303846bce8757b', true, 'ckuser0000000000000000001', '2026-11-21 02:06:44.728', '2026-11-21 02:06:44.728'),
	('ckpage0000000000000000002', 'fbp2', 'Ada "Café" Ünïcode', NULL, '465b2d9ad925e02a1bf27a844f720bbc:77a6892d1481e461334fa1b89897fb58:f8a470d042931f18ebd93e', true, 'ckuser0000000000000000001', '2026-11-21 02:06:44.728', '2026-11-21 02:06:44.728'),
	('ckpage0000000000000000003', 'fbp3', 'Compilers', 'Software', '6fb747c89d5fb9d92d1ee7e14a957d60:6b5ac73710989bfeff6812b0c1448be0:5045e10acbca01a5f7b0ff', true, 'ckuser0000000000000000002', '2026-11-21 02:06:44.728', '2026-11-21 02:06:44.728');


--
-- Data for Name: users; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.users VALUES
	('ckuser0000000000000000001', 'ada@example.com', 'Ada', 'fb_ada', '9016efce40725ad3f6d732278c8fbbe4:9324cdcca4e8a2df30ef083ed63b939e:98475b875f8b78042d2f4ea7a6c5caa3f7081b', 'c89fe0ee248a1fd881f8d51acf2199a6:0e725fdd32ec011c9ab50538d5f43319:fb97be4c4045e419709dfe75586250ea', NULL, NULL, '2026-11-21 02:06:44.726', '2026-11-21 02:06:44.726', NULL),
	('ckuser0000000000000000002', 'grace@example.com', NULL, 'fb_grace', 'e0b7ae870c2f14b644614748cb9d86aa:1e8d33fcabd7042b89ada8644c2f284e:d93108ca824c547924fdfd192c302afcf527309c56', NULL, NULL, NULL, '2026-11-21 02:06:44.726', '2026-11-21 02:06:44.726', NULL);


--
-- Data for Name: webhook_deliveries; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.webhook_deliveries VALUES
	('ckdel1', 'ckhook0000000000000000002', 'cklead000002', 'SUCCESS', 200, NULL, NULL, 2, NULL, '2026-09-30 00:00:00', NULL),
	('ckdel2', 'ckhook0000000000000000003', 'cklead000003', 'FAILED', 500, NULL, NULL, 3, NULL, '2026-09-29 00:00:00', NULL),
	('ckdel3', 'ckhook0000000000000000004', 'cklead000004', 'RETRYING', NULL, NULL, NULL, 1, NULL, '2026-09-28 00:00:00', NULL),
	('ckdel4', 'ckhook0000000000000000001', 'cklead000005', 'PENDING', NULL, NULL, NULL, 2, NULL, '2026-09-27 00:00:00', NULL),
	('ckdel5', 'ckhook0000000000000000002', 'cklead000006', 'SUCCESS', 200, NULL, NULL, 3, NULL, '2026-09-26 00:00:00', NULL),
	('ckdel6', 'ckhook0000000000000000003', 'cklead000007', 'FAILED', 500, NULL, NULL, 1, NULL, '2026-09-25 00:00:00', NULL),
	('ckdel7', 'ckhook0000000000000000004', 'cklead000008', 'RETRYING', NULL, NULL, NULL, 2, NULL, '2026-09-24 00:00:00', NULL),
	('ckdel8', 'ckhook0000000000000000001', 'cklead000009', 'PENDING', NULL, NULL, NULL, 3, NULL, '2026-09-23 00:00:00', NULL),
	('ckdel9', 'ckhook0000000000000000002', 'cklead000010', 'SUCCESS', 200, NULL, NULL, 1, NULL, '2026-09-22 00:00:00', NULL),
	('ckdel10', 'ckhook0000000000000000003', 'cklead000011', 'FAILED', 500, NULL, NULL, 2, NULL, '2026-09-21 00:00:00', NULL),
	('ckdel11', 'ckhook0000000000000000004', 'cklead000012', 'RETRYING', NULL, NULL, NULL, 3, NULL, '2026-09-20 00:00:00', NULL),
	('ckdel12', 'ckhook0000000000000000001', 'cklead000013', 'PENDING', NULL, NULL, NULL, 1, NULL, '2026-09-19 00:00:00', NULL),
	('ckdel13', 'ckhook0000000000000000002', 'cklead000014', 'SUCCESS', 200, NULL, NULL, 2, NULL, '2026-09-18 00:00:00', NULL),
	('ckdel14', 'ckhook0000000000000000003', 'cklead000015', 'FAILED', 500, NULL, NULL, 3, NULL, '2026-09-17 00:00:00', NULL),
	('ckdel15', 'ckhook0000000000000000004', 'cklead000016', 'RETRYING', NULL, NULL, NULL, 1, NULL, '2026-09-16 00:00:00', NULL),
	('ckdel16', 'ckhook0000000000000000001', 'cklead000017', 'PENDING', NULL, NULL, NULL, 2, NULL, '2026-09-15 00:00:00', NULL),
	('ckdel17', 'ckhook0000000000000000002', 'cklead000018', 'SUCCESS', 200, NULL, NULL, 3, NULL, '2026-09-14 00:00:00', NULL),
	('ckdel18', 'ckhook0000000000000000003', 'cklead000019', 'FAILED', 500, NULL, NULL, 1, NULL, '2026-09-13 00:00:00', NULL);
INSERT INTO public.webhook_deliveries VALUES
	('ckdel300', 'ckhook0000000000000000001', 'cklead000001', 'PENDING', NULL, NULL, NULL, 1, NULL, '2026-10-01 00:00:00', NULL);
INSERT INTO public.webhook_deliveries VALUES
	('ckdel301', 'ckhook0000000000000000002', 'cklead000002', 'SUCCESS', 200, NULL, NULL, 2, NULL, '2026-09-30 00:00:00', NULL),
	('ckdel302', 'ckhook0000000000000000003', 'cklead000003', 'FAILED', 500, NULL, NULL, 3, NULL, '2026-09-29 00:00:00', NULL),
	('ckdel303', 'ckhook0000000000000000004', 'cklead000004', 'RETRYING', NULL, NULL, NULL, 1, NULL, '2026-09-28 00:00:00', NULL),
	('ckdel304', 'ckhook0000000000000000001', 'cklead000005', 'PENDING', NULL, NULL, NULL, 2, NULL, '2026-09-27 00:00:00', NULL),
	('ckdel305', 'ckhook0000000000000000002', 'cklead000006', 'SUCCESS', 200, NULL, NULL, 3, NULL, '2026-09-26 00:00:00', NULL),
	('ckdel306', 'ckhook0000000000000000003', 'cklead000007', 'FAILED', 500, NULL, NULL, 1, NULL, '2026-09-25 00:00:00', NULL),
	('ckdel307', 'ckhook0000000000000000004', 'cklead000008', 'RETRYING', NULL, NULL, NULL, 2, NULL, '2026-09-24 00:00:00', NULL),
	('ckdel308', 'ckhook0000000000000000001', 'cklead000009', 'PENDING', NULL, NULL, NULL, 3, NULL, '2026-09-23 00:00:00', NULL),
	('ckdel309', 'ckhook0000000000000000002', 'cklead000010', 'SUCCESS', 200, NULL, NULL, 1, NULL, '2026-09-22 00:00:00', NULL),
	('ckdel310', 'ckhook0000000000000000003', 'cklead000011', 'FAILED', 500, NULL, NULL, 2, NULL, '2026-09-21 00:00:00', NULL),
	('ckdel311', 'ckhook0000000000000000004', 'cklead000012', 'RETRYING', NULL, NULL, NULL, 3, NULL, '2026-09-20 00:00:00', NULL),
	('ckdel312', 'ckhook0000000000000000001', 'cklead000013', 'PENDING', NULL, NULL, NULL, 1, NULL, '2026-09-19 00:00:00', NULL),
	('ckdel313', 'ckhook0000000000000000002', 'cklead000014', 'SUCCESS', 200, NULL, NULL, 2, NULL, '2026-09-18 00:00:00', NULL),
	('ckdel314', 'ckhook0000000000000000003', 'cklead000015', 'FAILED', 500, NULL, NULL, 3, NULL, '2026-09-17 00:00:00', NULL),
	('ckdel315', 'ckhook0000000000000000004', 'cklead000016', 'RETRYING', NULL, NULL, NULL, 1, NULL, '2026-09-16 00:00:00', NULL),
	('ckdel316', 'ckhook0000000000000000001', 'cklead000017', 'PENDING', NULL, NULL, NULL, 2, NULL, '2026-09-15 00:00:00', NULL),
	('ckdel317', 'ckhook0000000000000000002', 'cklead000018', 'SUCCESS', 200, NULL, NULL, 3, NULL, '2026-09-14 00:00:00', NULL),
	('ckdel318', 'ckhook0000000000000000003', 'cklead000019', 'FAILED', 500, NULL, NULL, 1, NULL, '2026-09-13 00:00:00', NULL);
INSERT INTO public.webhook_deliveries VALUES
	('ckdel600', 'ckhook0000000000000000001', 'cklead000001', 'PENDING', NULL, NULL, NULL, 1, NULL, '2026-10-01 00:00:00', NULL);
INSERT INTO public.webhook_deliveries VALUES
	('ckdel601', 'ckhook0000000000000000002', 'cklead000002', 'SUCCESS', 200, NULL, NULL, 2, NULL, '2026-09-30 00:00:00', NULL),
	('ckdel602', 'ckhook0000000000000000003', 'cklead000003', 'FAILED', 500, NULL, NULL, 3, NULL, '2026-09-29 00:00:00', NULL),
	('ckdel603', 'ckhook0000000000000000004', 'cklead000004', 'RETRYING', NULL, NULL, NULL, 1, NULL, '2026-09-28 00:00:00', NULL),
	('ckdel604', 'ckhook0000000000000000001', 'cklead000005', 'PENDING', NULL, NULL, NULL, 2, NULL, '2026-09-27 00:00:00', NULL),
	('ckdel605', 'ckhook0000000000000000002', 'cklead000006', 'SUCCESS', 200, NULL, NULL, 3, NULL, '2026-09-26 00:00:00', NULL),
	('ckdel606', 'ckhook0000000000000000003', 'cklead000007', 'FAILED', 500, NULL, NULL, 1, NULL, '2026-09-25 00:00:00', NULL),
	('ckdel607', 'ckhook0000000000000000004', 'cklead000008', 'RETRYING', NULL, NULL, NULL, 2, NULL, '2026-09-24 00:00:00', NULL),
	('ckdel608', 'ckhook0000000000000000001', 'cklead000009', 'PENDING', NULL, NULL, NULL, 3, NULL, '2026-09-23 00:00:00', NULL),
	('ckdel609', 'ckhook0000000000000000002', 'cklead000010', 'SUCCESS', 200, NULL, NULL, 1, NULL, '2026-09-22 00:00:00', NULL),
	('ckdel610', 'ckhook0000000000000000003', 'cklead000011', 'FAILED', 500, NULL, NULL, 2, NULL, '2026-09-21 00:00:00', NULL),
	('ckdel611', 'ckhook0000000000000000004', 'cklead000012', 'RETRYING', NULL, NULL, NULL, 3, NULL, '2026-09-20 00:00:00', NULL),
	('ckdel612', 'ckhook0000000000000000001', 'cklead000013', 'PENDING', NULL, NULL, NULL, 1, NULL, '2026-09-19 00:00:00', NULL),
	('ckdel613', 'ckhook0000000000000000002', 'cklead000014', 'SUCCESS', 200, NULL, NULL, 2, NULL, '2026-09-18 00:00:00', NULL),
	('ckdel614', 'ckhook0000000000000000003', 'cklead000015', 'FAILED', 500, NULL, NULL, 3, NULL, '2026-09-17 00:00:00', NULL),
	('ckdel615', 'ckhook0000000000000000004', 'cklead000016', 'RETRYING', NULL, NULL, NULL, 1, NULL, '2026-09-16 00:00:00', NULL),
	('ckdel616', 'ckhook0000000000000000001', 'cklead000017', 'PENDING', NULL, NULL, NULL, 2, NULL, '2026-09-15 00:00:00', NULL),
	('ckdel617', 'ckhook0000000000000000002', 'cklead000018', 'SUCCESS', 200, NULL, NULL, 3, NULL, '2026-09-14 00:00:00', NULL),
	('ckdel618', 'ckhook0000000000000000003', 'cklead000019', 'FAILED', 500, NULL, NULL, 1, NULL, '2026-09-13 00:00:00', NULL);
INSERT INTO public.webhook_deliveries VALUES
	('ckdel900', 'ckhook0000000000000000001', 'cklead000001', 'PENDING', NULL, NULL, NULL, 1, NULL, '2026-10-01 00:00:00', NULL);


--
-- Data for Name: webhooks; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.webhooks VALUES
	('ckhook0000000000000000001', 'ckuser0000000000000000002', 'Hook 1', 'https://example.com/h/1', 'POST', '{"Content-Type": "application/json"}', 'NONE', NULL, 3, 30000, true, NULL, NULL, '2026-11-21 02:06:44.729', '2026-11-21 02:06:44.729'),
	('ckhook0000000000000000002', 'ckuser0000000000000000001', 'Hook 2', 'https://example.com/h/2', 'POST', '{"Content-Type": "application/json"}', 'NONE', NULL, 3, 30000, true, NULL, NULL, '2026-11-21 02:06:44.729', '2026-11-21 02:06:44.729'),
	('ckhook0000000000000000003', 'ckuser0000000000000000002', 'Hook 3', 'https://example.com/h/3', 'POST', '{"Content-Type": "application/json"}', 'NONE', NULL, 3, 30000, true, NULL, NULL, '2026-11-21 02:06:44.729', '2026-11-21 02:06:44.729'),
	('ckhook0000000000000000004', 'ckuser0000000000000000001', 'Hook 4', 'https://example.com/h/4', 'POST', '{"Content-Type": "application/json"}', 'NONE', NULL, 3, 30000, true, NULL, NULL, '2026-11-21 02:06:44.729', '2026-11-21 02:06:44.729');


--
-- Name: _prisma_migrations _prisma_migrations_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public._prisma_migrations
    ADD CONSTRAINT _prisma_migrations_pkey PRIMARY KEY (id);


--
-- Name: leads leads_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.leads
    ADD CONSTRAINT leads_pkey PRIMARY KEY (id);


--
-- Name: page_webhook_configs page_webhook_configs_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.page_webhook_configs
    ADD CONSTRAINT page_webhook_configs_pkey PRIMARY KEY (id);


--
-- Name: pages pages_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.pages
    ADD CONSTRAINT pages_pkey PRIMARY KEY (id);


--
-- Name: users users_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);


--
-- Name: webhook_deliveries webhook_deliveries_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.webhook_deliveries
    ADD CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (id);


--
-- Name: webhooks webhooks_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.webhooks
    ADD CONSTRAINT webhooks_pkey PRIMARY KEY (id);


--
-- Name: leads_createdAt_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "leads_createdAt_idx" ON public.leads USING btree ("createdAt");


--
-- Name: leads_facebookLeadId_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "leads_facebookLeadId_idx" ON public.leads USING btree ("facebookLeadId");


--
-- Name: leads_facebookLeadId_key; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX "leads_facebookLeadId_key" ON public.leads USING btree ("facebookLeadId");


--
-- Name: leads_pageId_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "leads_pageId_idx" ON public.leads USING btree ("pageId");


--
-- Name: leads_status_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX leads_status_idx ON public.leads USING btree (status);


--
-- Name: page_webhook_configs_pageId_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "page_webhook_configs_pageId_idx" ON public.page_webhook_configs USING btree ("pageId");


--
-- Name: page_webhook_configs_pageId_webhookId_key; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX "page_webhook_configs_pageId_webhookId_key" ON public.page_webhook_configs USING btree ("pageId", "webhookId");


--
-- Name: page_webhook_configs_webhookId_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "page_webhook_configs_webhookId_idx" ON public.page_webhook_configs USING btree ("webhookId");


--
-- Name: pages_facebookPageId_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "pages_facebookPageId_idx" ON public.pages USING btree ("facebookPageId");


--
-- Name: pages_facebookPageId_key; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX "pages_facebookPageId_key" ON public.pages USING btree ("facebookPageId");


--
-- Name: pages_isActive_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "pages_isActive_idx" ON public.pages USING btree ("isActive");


--
-- Name: pages_userId_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "pages_userId_idx" ON public.pages USING btree ("userId");


--
-- Name: users_email_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX users_email_idx ON public.users USING btree (email);


--
-- Name: users_email_key; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX users_email_key ON public.users USING btree (email);


--
-- Name: users_facebookId_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "users_facebookId_idx" ON public.users USING btree ("facebookId");


--
-- Name: users_facebookId_key; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX "users_facebookId_key" ON public.users USING btree ("facebookId");


--
-- Name: webhook_deliveries_leadId_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "webhook_deliveries_leadId_idx" ON public.webhook_deliveries USING btree ("leadId");


--
-- Name: webhook_deliveries_nextRetryAt_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "webhook_deliveries_nextRetryAt_idx" ON public.webhook_deliveries USING btree ("nextRetryAt");


--
-- Name: webhook_deliveries_status_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX webhook_deliveries_status_idx ON public.webhook_deliveries USING btree (status);


--
-- Name: webhook_deliveries_webhookId_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "webhook_deliveries_webhookId_idx" ON public.webhook_deliveries USING btree ("webhookId");


--
-- Name: webhooks_isActive_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "webhooks_isActive_idx" ON public.webhooks USING btree ("isActive");


--
-- Name: webhooks_userId_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "webhooks_userId_idx" ON public.webhooks USING btree ("userId");


--
-- Name: leads leads_pageId_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.leads
    ADD CONSTRAINT "leads_pageId_fkey" FOREIGN KEY ("pageId") REFERENCES public.pages(id) ON UPDATE CASCADE ON DELETE CASCADE;


--
-- Name: page_webhook_configs page_webhook_configs_pageId_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.page_webhook_configs
    ADD CONSTRAINT "page_webhook_configs_pageId_fkey" FOREIGN KEY ("pageId") REFERENCES public.pages(id) ON UPDATE CASCADE ON DELETE CASCADE;


--
-- Name: page_webhook_configs page_webhook_configs_webhookId_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.page_webhook_configs
    ADD CONSTRAINT "page_webhook_configs_webhookId_fkey" FOREIGN KEY ("webhookId") REFERENCES public.webhooks(id) ON UPDATE CASCADE ON DELETE CASCADE;


--
-- Name: pages pages_userId_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.pages
    ADD CONSTRAINT "pages_userId_fkey" FOREIGN KEY ("userId") REFERENCES public.users(id) ON UPDATE CASCADE ON DELETE CASCADE;


--
-- Name: webhook_deliveries webhook_deliveries_leadId_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.webhook_deliveries
    ADD CONSTRAINT "webhook_deliveries_leadId_fkey" FOREIGN KEY ("leadId") REFERENCES public.leads(id) ON UPDATE CASCADE ON DELETE CASCADE;


--
-- Name: webhook_deliveries webhook_deliveries_webhookId_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.webhook_deliveries
    ADD CONSTRAINT "webhook_deliveries_webhookId_fkey" FOREIGN KEY ("webhookId") REFERENCES public.webhooks(id) ON UPDATE CASCADE ON DELETE CASCADE;


--
-- Name: webhooks webhooks_userId_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.webhooks
    ADD CONSTRAINT "webhooks_userId_fkey" FOREIGN KEY ("userId") REFERENCES public.users(id) ON UPDATE CASCADE ON DELETE CASCADE;


--
-- PostgreSQL database dump complete
--


