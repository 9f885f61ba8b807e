"""The check of drift: what was changed by hand since the schema was migrated."""

from leadctl.db.catalog import Catalog, Difference, compare, owner, read_catalog
from leadctl.operations.health.check import CheckResult, CheckStatus, Skip
from leadctl.operations.health.facts import Facts

_SHOWN = 3


def drift(facts: Facts) -> CheckResult:
    """The app's own objects are what they were after the last migration."""
    if facts.fingerprint is None:
        raise Skip("no fingerprint is recorded for this schema")
    recorded = Catalog(facts.fingerprint["objects"])
    own = set(facts.fingerprint.get("own", recorded.objects))
    differences = [
        difference for difference in compare(recorded, _live(facts)) if _owner(difference) in own
    ]
    if differences:
        shown = [f"{found.object} {_WORDS[found.change]}" for found in differences[:_SHOWN]]
        return CheckResult(
            "drift",
            CheckStatus.WARNING,
            len(differences),
            "differences",
            ", ".join(shown) + (", …" if len(differences) > _SHOWN else ""),
            "Write what was meant to stay into a revision, and undo the rest.",
        )
    return CheckResult(
        "drift", CheckStatus.OK, 0, "differences", f"{len(recorded.objects)} objects as recorded"
    )


def _live(facts: Facts) -> Catalog:
    app = facts.app
    return read_catalog(facts.connection, facts.target.schema, [app.version_table], app.schemas)


_WORDS = {"missing": "is missing", "extra": "is extra", "changed": "is changed"}


def _owner(difference: Difference) -> str:
    """Return the object that a difference belongs to: its table's, where it is part of one."""
    table = owner(difference.object, difference.before or difference.after or {})
    return f"table {table}" if table else difference.object
