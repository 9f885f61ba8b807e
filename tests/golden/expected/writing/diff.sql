-- A value that was just added cannot be used in the same transaction.
ALTER TYPE mood ADD VALUE 'calm';
ALTER TABLE users ADD COLUMN full_name text;
ALTER TABLE users ADD COLUMN key uuid DEFAULT gen_random_uuid() NOT NULL;
ALTER TABLE users ALTER COLUMN mood SET DEFAULT 'calm'::mood;
-- Loses the column tel of users.
ALTER TABLE users DROP COLUMN tel;
-- Loses the column name of users.
ALTER TABLE users DROP COLUMN name;
ALTER TABLE users ADD CONSTRAINT users_key_key UNIQUE (key);
ALTER TABLE users ADD CONSTRAINT users_age_check CHECK (age > 0);
