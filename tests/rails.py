"""A Rails application's structure, of as many tables as one asks for; the same at every call.

It has what `rails db:schema:dump` writes for large applications: keys as bigserial, references with
names of Rails' own, enums as integers, jsonb, partial and expression indexes, checks of lengths,
triggers that call a function each, partitioned tables, views, and the two tables of Rails itself.
"""

from collections.abc import Iterator
from hashlib import sha256

_SUBJECTS = (
    "account", "project", "issue", "merge_request", "pipeline", "build", "package", "member",
    "note", "label", "milestone", "epic", "runner", "deployment", "environment", "release",
    "snippet", "wiki_page", "todo", "event", "invoice", "payment", "subscription", "coupon",
    "customer", "order", "shipment", "warehouse", "audit", "webhook",
)  # fmt: skip
_ASPECTS = (
    "", "setting", "state", "version", "link", "metric", "approval", "rule", "comment", "tag",
    "upload", "token", "export", "import", "preference", "assignment", "reminder", "snapshot",
    "statistic", "policy", "schedule", "attempt", "failure", "notification", "mapping", "feature",
    "license", "quota", "template", "variable", "artifact", "reaction", "mention", "draft",
)  # fmt: skip
PARTITIONED = 20
"""One table of so many is partitioned, by month."""


def table_names(count: int) -> list[str]:
    """Return so many names of tables, as Rails makes them: in the plural."""
    words = ((aspect, subject) for aspect in _ASPECTS for subject in _SUBJECTS)
    singular = (f"{subject}_{aspect}".rstrip("_") for aspect, subject in words)
    return [_plural(name) for name, _ in zip(singular, range(count), strict=False)]


def structure(count: int) -> str:
    """Return the SQL of so many tables, and what belongs to them."""
    names = table_names(count)
    parts = [each for number, name in enumerate(names) for each in _table(number, name, names)]
    return "\n".join([_HEAD, *parts, *_references(names), _FOOT])


def _table(number: int, name: str, names: list[str]) -> Iterator[str]:
    partitioned = number % PARTITIONED == PARTITIONED - 1
    columns = [
        "id bigserial NOT NULL" if not partitioned else "id bigint NOT NULL",
        *(f"{column} bigint" for column, _ in _referred(number, names)),
        "name character varying NOT NULL",
        "slug character varying(255)",
        "status smallint DEFAULT 0 NOT NULL",
        "kind integer DEFAULT 1",
        "position integer",
        "amount_cents numeric(12,2) DEFAULT 0.0 NOT NULL",
        "enabled boolean DEFAULT true NOT NULL",
        "settings jsonb DEFAULT '{}'::jsonb NOT NULL",
        "tags text[] DEFAULT '{}'::text[]",
        "external_uuid uuid DEFAULT gen_random_uuid()",
        "description text",
        "lock_version integer DEFAULT 0 NOT NULL",
        "deleted_at timestamp(6) without time zone",
        "created_at timestamp(6) without time zone NOT NULL",
        "updated_at timestamp(6) without time zone NOT NULL",
        f"CONSTRAINT check_{_digest(name)} CHECK (char_length(description) <= 1024)",
    ]
    key = "id, created_at" if partitioned else "id"
    columns.append(f"CONSTRAINT {name}_pkey PRIMARY KEY ({key})")
    by = " PARTITION BY RANGE (created_at)" if partitioned else ""
    yield f"CREATE TABLE {name} (\n    " + ",\n    ".join(columns) + f"\n){by};"
    if partitioned:
        yield (
            f"CREATE TABLE {name}_202601 PARTITION OF {name} "
            "FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');"
        )
    for column, _ in _referred(number, names):
        yield f"CREATE INDEX index_{name}_on_{column} ON {name} USING btree ({column});"
    unique = "" if partitioned else "UNIQUE "
    yield f"CREATE {unique}INDEX index_{name}_on_lower_slug ON {name} USING btree (lower(slug::text)) WHERE (deleted_at IS NULL);"
    yield f"CREATE INDEX index_{name}_on_status_and_created_at ON {name} USING btree (status, created_at DESC);"
    yield f"CREATE INDEX index_{name}_on_settings ON {name} USING gin (settings);"
    yield (
        f"CREATE FUNCTION {name}_touched() RETURNS trigger LANGUAGE plpgsql "
        "AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;"
    )
    yield (
        f"CREATE TRIGGER trigger_{_digest(name)} BEFORE UPDATE ON {name} "
        f"FOR EACH ROW EXECUTE FUNCTION {name}_touched();"
    )
    if number % 50 == 7:
        yield (
            f"CREATE VIEW active_{name} AS SELECT id, name, status FROM {name} "
            "WHERE deleted_at IS NULL;"
        )
        yield f"COMMENT ON TABLE {name} IS 'The {name} of an account';"


def _references(names: list[str]) -> Iterator[str]:
    for number, name in enumerate(names):
        for column, referred in _referred(number, names):
            key = f"fk_rails_{_digest(name + column)}"
            yield (
                f"ALTER TABLE ONLY {name} ADD CONSTRAINT {key} FOREIGN KEY ({column}) "
                f"REFERENCES {referred}(id) ON DELETE CASCADE;"
                if not _is_partitioned(names, name)
                else f"ALTER TABLE {name} ADD CONSTRAINT {key} FOREIGN KEY ({column}) "
                f"REFERENCES {referred}(id) ON DELETE CASCADE;"
            )


def _referred(number: int, names: list[str]) -> list[tuple[str, str]]:
    """Return the columns that refer to other tables: to earlier ones, some to later ones, itself."""
    found: dict[str, str] = {}
    for other in (0, number // 2, (number * 7 + 3) % len(names), number if number % 9 == 4 else 0):
        referred = names[other]
        if not _is_partitioned(names, referred):
            column = "parent_id" if other == number else f"{_singular(referred)}_id"
            found[column] = referred
    return list(found.items())


def _is_partitioned(names: list[str], name: str) -> bool:
    return names.index(name) % PARTITIONED == PARTITIONED - 1


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:10]


def _plural(name: str) -> str:
    if name.endswith("y"):
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "x", "ch", "sh")) else f"{name}s"


def _singular(name: str) -> str:
    if name.endswith("ies"):
        return f"{name[:-3]}y"
    return name.removesuffix("s")


_HEAD = """\
CREATE TABLE schema_migrations (version character varying NOT NULL PRIMARY KEY);
CREATE TABLE ar_internal_metadata (
    key character varying NOT NULL PRIMARY KEY,
    value character varying,
    created_at timestamp(6) without time zone NOT NULL,
    updated_at timestamp(6) without time zone NOT NULL
);
"""
_FOOT = """\
INSERT INTO schema_migrations (version) VALUES ('20260101000000'), ('20260401120000');
INSERT INTO ar_internal_metadata VALUES ('environment', 'production', now(), now());
"""
