"""The check of drift: what was changed by hand since the schema was migrated."""

from collections.abc import Collection

from leadctl.catalog.compare import Difference, compare
from leadctl.catalog.definitions import Catalog, owner, read_catalog
from leadctl.health.check import CheckResult, CheckStatus, Skip
from leadctl.health.facts import Facts

_SHOWN = 3


def drift(facts: Facts) -> CheckResult:
    """The app's own objects are what they were after the last migration."""
    if facts.fingerprint is None:
        raise Skip("no fingerprint is recorded for this schema")
    recorded = Catalog(facts.fingerprint["objects"])
    own = set(facts.fingerprint.get("own", recorded.objects))
    differences = [
        difference for difference in compare(recorded, _live(facts)) if _is_own(difference, own)
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


def _is_own(difference: Difference, own: Collection[str]) -> bool:
    """Whether a difference is of one of the app's own objects, or of a part of one."""
    attributes = difference.before or difference.after or {}
    key, whole = attributes.get("of", difference.object), owner(difference.object, attributes)
    return key in own or f"table {whole}" in own or f"view {whole}" in own
