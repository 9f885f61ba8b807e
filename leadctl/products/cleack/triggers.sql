-- What the server itself does for cleack: the ledger of credits and the audit trail of draws.
--
-- Each function finds its tables in the schema of the table that it was called for, whatever the
-- schema's name and the caller's search path: it has a search path of its own, set again at each call
-- and forgotten at its end.  Temporary tables come last in it, so that nobody's stand in for ours.
-- The audit trail may be deleted from: retention archives what is old.  TRUNCATE is left to who owns
-- the tables, as DROP is.

-- name: append_credit
-- what: What number and balance has a new entry of the ledger?
-- versions: 15-
CREATE OR REPLACE FUNCTION append_credit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    previous record;
BEGIN
    PERFORM set_config('search_path', quote_ident(TG_TABLE_SCHEMA) || ', pg_temp', true);
    -- One writer at a time for each user; who waited sees, in the next statement, what the others
    -- committed. Under REPEATABLE READ it does not, and the unique (user_id, entry) refuses it.
    -- The lock lets those pass who only refer to the user.
    PERFORM FROM users WHERE id = NEW.user_id FOR NO KEY UPDATE;
    SELECT c.entry, c.balance, c.created_at INTO previous
    FROM credits c WHERE c.user_id = NEW.user_id ORDER BY c.entry DESC LIMIT 1;
    NEW.entry := coalesce(previous.entry, 0) + 1;
    NEW.balance := coalesce(previous.balance, 0) + NEW.amount;
    -- Later than the entry before it, so that whoever orders by time has the right order, too:
    -- now() is when a transaction began, not when it got here. Never in the future, which every
    -- later entry would have to follow.
    NEW.created_at := greatest(least(NEW.created_at, clock_timestamp()),
                               previous.created_at + interval '1 microsecond');
    RETURN NEW;
END
$$

-- name: refuse_change
-- what: Who may change what happened?  Nobody.
-- versions: 15-
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM set_config('search_path', quote_ident(TG_TABLE_SCHEMA) || ', pg_temp', true);
    -- When a user is deleted, the user's row is gone before the cascade gets here.
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM users WHERE id = OLD.user_id) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'restrict_violation',
        MESSAGE = format('%s of %s is refused: what happened stays as it is recorded',
                         TG_OP, TG_TABLE_NAME);
END
$$

-- name: guard_draw
-- what: What may become of a draw?
-- versions: 15-
CREATE OR REPLACE FUNCTION guard_draw() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF OLD.status <> NEW.status AND (OLD.status::text, NEW.status::text) NOT IN (
        ('pending', 'processing'), ('pending', 'cancelled'), ('processing', 'completed'),
        ('processing', 'failed'), ('processing', 'cancelled'), ('failed', 'processing')
    ) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = 'draws_status_flow',
            MESSAGE = format('the draw %s is %s and cannot become %s',
                             OLD.id, OLD.status, NEW.status);
    END IF;
    IF OLD.user_id <> NEW.user_id THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = 'draws_user',
            MESSAGE = format('the draw %s stays with its user: so its history says', OLD.id);
    END IF;
    -- As text: 1 and 1.0 are equal as JSON, and not to the certificate.
    IF OLD.status = 'completed'
        AND (OLD.id, OLD.config::text, OLD.winners::text, OLD.certificate_hash)
        IS DISTINCT FROM (NEW.id, NEW.config::text, NEW.winners::text, NEW.certificate_hash)
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'check_violation',
            CONSTRAINT = 'draws_certified',
            MESSAGE = format('the draw %s is completed: its certificate covers id, config and '
                             'winners, which stay as they are', OLD.id);
    END IF;
    RETURN NEW;
END
$$

-- name: record_draw
-- what: What happened to a draw?
-- versions: 15-
CREATE OR REPLACE FUNCTION record_draw() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    -- A draw that is inserted further on, as an import does, came there by these.
    path text[] := CASE
        WHEN TG_OP = 'UPDATE' THEN ARRAY[NEW.status::text]
        WHEN NEW.status = 'pending' THEN ARRAY['pending']
        WHEN NEW.status IN ('processing', 'cancelled') THEN ARRAY['pending', NEW.status::text]
        ELSE ARRAY['pending', 'processing', NEW.status::text]
    END;
    old_status text := OLD.status;
    new_status text;
BEGIN
    PERFORM set_config('search_path', quote_ident(TG_TABLE_SCHEMA) || ', pg_temp', true);
    FOREACH new_status IN ARRAY path LOOP
        INSERT INTO draw_history (id, draw_id, user_id, step, action, details, metadata) VALUES (
            -- What a CUID2 looks like, with 86 random bits.
            'h' || left(replace(gen_random_uuid()::text, '-', ''), 23),
            NEW.id,
            NEW.user_id,
            -- The draw's row is locked by whoever changes it, so nobody else takes this number.
            (SELECT coalesce(max(h.step), 0) + 1 FROM draw_history h WHERE h.draw_id = NEW.id),
            CASE
                WHEN new_status = 'pending' THEN 'created'
                WHEN new_status = 'processing' AND old_status = 'failed' THEN 'retried'
                WHEN new_status = 'processing' THEN 'started'
                ELSE new_status
            END::draw_action,
            jsonb_strip_nulls(jsonb_build_object(
                'old_status', old_status,
                'new_status', new_status,
                'imported', CASE WHEN TG_OP = 'INSERT' AND new_status <> 'pending' THEN true END,
                'error', CASE new_status WHEN 'failed' THEN NEW.error END,
                'certificate_hash', CASE new_status
                                    WHEN 'completed' THEN NEW.certificate_hash END)),
            nullif(current_setting('cleack.actor', true), '')::jsonb
        );
        old_status := new_status;
    END LOOP;
    RETURN NULL;
END
$$

-- name: credit_is_appended
-- what: Which rows are numbered?
-- versions: 15-
CREATE OR REPLACE TRIGGER append_credit BEFORE INSERT ON credits
    FOR EACH ROW EXECUTE FUNCTION append_credit()

-- name: credit_is_kept
-- what: Which entries stay as they are?
-- versions: 15-
CREATE OR REPLACE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON credits
    FOR EACH ROW EXECUTE FUNCTION refuse_change()

-- name: draw_is_guarded
-- what: Which changes are looked at?
-- versions: 15-
CREATE OR REPLACE TRIGGER guard_draw BEFORE UPDATE ON draws
    FOR EACH ROW EXECUTE FUNCTION guard_draw()

-- name: new_draw_is_recorded
-- what: Which new draws are recorded?
-- versions: 15-
CREATE OR REPLACE TRIGGER record_new_draw AFTER INSERT ON draws
    FOR EACH ROW EXECUTE FUNCTION record_draw()

-- name: draw_is_recorded
-- what: Which steps are recorded?
-- versions: 15-
CREATE OR REPLACE TRIGGER record_draw AFTER UPDATE ON draws
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION record_draw()

-- name: history_is_kept
-- what: Which steps stay as they are?
-- versions: 15-
CREATE OR REPLACE TRIGGER refuse_change BEFORE UPDATE ON draw_history
    FOR EACH ROW EXECUTE FUNCTION refuse_change()
