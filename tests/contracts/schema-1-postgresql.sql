-- Version 1 knew SQLite alone. These are its tables and the rows of schema-1.sql as PostgreSQL has them (pg_dump).
CREATE TABLE public.artifacts (
    job character varying(32) NOT NULL,
    key character varying(100) NOT NULL,
    "position" integer NOT NULL,
    media_type character varying(128) NOT NULL,
    tensor bytea NOT NULL,
    byte_count bigint NOT NULL,
    crc32c bigint NOT NULL,
    is_file boolean NOT NULL,
    file character varying(256) NOT NULL
);
CREATE TABLE public.counters (
    name character varying(32) NOT NULL,
    value bigint NOT NULL
);
CREATE TABLE public.datasets (
    number bigint NOT NULL,
    id character varying(32) NOT NULL,
    owner character varying(256) NOT NULL,
    display_name character varying(512) NOT NULL,
    kind integer NOT NULL,
    content bytea NOT NULL,
    file character varying(64) NOT NULL,
    row_count bigint NOT NULL,
    byte_count bigint NOT NULL,
    crc32c bigint NOT NULL,
    created double precision NOT NULL
);
CREATE SEQUENCE public.datasets_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.datasets_number_seq OWNED BY public.datasets.number;
CREATE TABLE public.jobs (
    number bigint NOT NULL,
    id character varying(32) NOT NULL,
    owner character varying(256) NOT NULL,
    request_id character varying(128),
    spec_digest character varying(64) NOT NULL,
    display_name character varying(512) NOT NULL,
    kind character varying(32) NOT NULL,
    spec bytea NOT NULL,
    inputs text NOT NULL,
    state integer NOT NULL,
    cancel_requested double precision,
    progress bytea NOT NULL,
    attempt integer NOT NULL,
    max_attempts integer NOT NULL,
    sequence bigint NOT NULL,
    server character varying(64),
    worker character varying(64),
    lease_until double precision,
    error bytea,
    metrics text NOT NULL,
    notes text NOT NULL,
    created double precision NOT NULL,
    started double precision,
    ended double precision
);
CREATE SEQUENCE public.jobs_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.jobs_number_seq OWNED BY public.jobs.number;
CREATE TABLE public.schema_version (
    version integer NOT NULL
);
CREATE TABLE public.uploads (
    id character varying(32) NOT NULL,
    owner character varying(256) NOT NULL,
    request_id character varying(128),
    request_digest character varying(64) NOT NULL,
    display_name character varying(512) NOT NULL,
    kind integer NOT NULL,
    content bytea NOT NULL,
    file character varying(64) NOT NULL,
    head_bytes integer NOT NULL,
    byte_count bigint NOT NULL,
    persisted_bytes bigint NOT NULL,
    dataset character varying(32),
    created double precision NOT NULL,
    expires double precision NOT NULL
);
ALTER TABLE ONLY public.datasets ALTER COLUMN number SET DEFAULT nextval('public.datasets_number_seq'::regclass);
ALTER TABLE ONLY public.jobs ALTER COLUMN number SET DEFAULT nextval('public.jobs_number_seq'::regclass);
INSERT INTO public.artifacts VALUES ('842f5ad9c09f34f8e32b6f194b4b0179', 'labels', 0, 'application/x-npy', '\x', 16, 9, false, '842f5ad9c09f34f8e32b6f194b4b0179/1/labels.npy');
INSERT INTO public.counters VALUES ('jobs', 6);
INSERT INTO public.datasets VALUES (1, 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'ann', 'rows', 1, '\x2a06080212020402', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.npy', 4, 32, 7, 1795602109.4348228);
INSERT INTO public.jobs VALUES (1, '842f5ad9c09f34f8e32b6f194b4b0179', 'ann', 'q1', '0e65c99bc4177dabc1923001cc81c54003ef0b3adc8d23346c6115524e9ef746', 'first', 'kmeans', '\x0a2f0a2964617461736574732f616161616161616161616161616161616161616161616161616161616161616112020802', 'datasets/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 3, NULL, '\x', 1, 3, 3, NULL, NULL, NULL, NULL, '{"inertia": 1.5}', '{"backend": "numba"}', 1795602109.4456406, 1795602109.4507866, 1795602109.4588215);
INSERT INTO public.jobs VALUES (2, '84ba8ed37acef1e8ad296a31767ca6d0', 'ann', 'q2', '0e65c99bc4177dabc1923001cc81c54003ef0b3adc8d23346c6115524e9ef746', 'second', 'kmeans', '\x0a2f0a2964617461736574732f616161616161616161616161616161616161616161616161616161616161616112020802', '', 2, NULL, '\x', 1, 3, 6, 's', 'w2', 1795602139.4747343, NULL, '{}', '{}', 1795602109.467859, 1795602109.4747343, NULL);
INSERT INTO public.jobs VALUES (3, 'edd3747c8ae1356ac01fcfcfc7410abf', 'bob', 'q3', '0e65c99bc4177dabc1923001cc81c54003ef0b3adc8d23346c6115524e9ef746', 'third', 'kmeans', '\x0a2f0a2964617461736574732f616161616161616161616161616161616161616161616161616161616161616112020802', '', 1, NULL, '\x', 0, 3, 5, NULL, NULL, NULL, NULL, '{}', '{}', 1795602109.4715018, NULL, NULL);
INSERT INTO public.schema_version VALUES (1);
INSERT INTO public.uploads VALUES ('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'ann', 'r1', 'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd', 'rows', 1, '\x2a06080212020402', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.npy', 128, 32, 32, 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 1700000000, 4000000000);
INSERT INTO public.uploads VALUES ('bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', 'bob', NULL, 'eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee', 'half', 1, '\x2a06080212020402', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.npy', 128, 32, 16, NULL, 1700000000, 4000000000);
SELECT pg_catalog.setval('public.datasets_number_seq', 1, true);
SELECT pg_catalog.setval('public.jobs_number_seq', 3, true);
ALTER TABLE ONLY public.artifacts
    ADD CONSTRAINT artifacts_pkey PRIMARY KEY (job, key);
ALTER TABLE ONLY public.counters
    ADD CONSTRAINT counters_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.datasets
    ADD CONSTRAINT datasets_id_key UNIQUE (id);
ALTER TABLE ONLY public.datasets
    ADD CONSTRAINT datasets_pkey PRIMARY KEY (number);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_id_key UNIQUE (id);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_owner_request_id_key UNIQUE (owner, request_id);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (number);
ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT uploads_owner_request_id_key UNIQUE (owner, request_id);
ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT uploads_pkey PRIMARY KEY (id);
CREATE INDEX ix_datasets_owner ON public.datasets USING btree (owner);
CREATE INDEX ix_jobs_owner ON public.jobs USING btree (owner);
CREATE INDEX ix_jobs_sequence ON public.jobs USING btree (sequence);
CREATE INDEX jobs_queue ON public.jobs USING btree (state, number);
