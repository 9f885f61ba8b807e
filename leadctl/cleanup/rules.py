"""The rules of a run: the app's own, those of leadctl.toml, and what overrides them."""

from collections.abc import Sequence
from dataclasses import replace

from leadctl.apps.registry import App, load_rules
from leadctl.apps.retention import Rule
from leadctl.errors import InvalidRule, UnknownRule, UsageError
from leadctl.settings import Settings
from leadctl.settings.durations import INTERVAL, Interval
from leadctl.text import did_you_mean


def rules_of(
    app: App,
    settings: Settings,
    *,
    only: Sequence[str] = (),
    days: int | None = None,
    archive_all: bool = False,
) -> tuple[Rule, ...]:
    """Return an app's rules in their order, as settings and flags have them.

    `only` names the rules to take; `days` takes the place of their age.  Raises UnknownRule,
    InvalidRule, and UsageError where `days` would make rules equal that differ on purpose.
    """
    declared = [*load_rules(app), *settings.app_rules.get(app.name, ())]
    _refuse_twins(app, declared)
    rules = [replace(rule, **settings.retention.get(rule.name, {})) for rule in declared]
    _refuse_unknown_overrides(app, settings, rules)
    chosen = _chosen(app, [rule for rule in rules if rule.enabled], only)
    if days is not None:
        _refuse_levelling(chosen, only)
        chosen = [replace(rule, older_than=Interval(days=days)) for rule in chosen]
    for rule in chosen:
        _refuse_senseless(rule)
    return tuple(replace(rule, archive=rule.archive or archive_all) for rule in chosen)


def _refuse_twins(app: App, rules: Sequence[Rule]) -> None:
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise InvalidRule(
                f"{app.name} has two retention rules that are named {name}.",
                hint=f"To change the rule, write [retention.{name}]; else name the new one anew.",
            )


def _refuse_unknown_overrides(app: App, settings: Settings, rules: Sequence[Rule]) -> None:
    """Refuse an override of no rule, where leadctl.toml is about this app alone."""
    if settings.apps and app.name not in settings.apps:
        return
    names = [rule.name for rule in rules]
    for name in settings.retention.keys() - set(names):
        raise InvalidRule(
            f"[retention.{name}] overrides a rule that {app.name} does not have.",
            hint=did_you_mean(name, names),
        )


def _chosen(app: App, rules: list[Rule], only: Sequence[str]) -> list[Rule]:
    names = [rule.name for rule in rules]
    for name in only:
        if name not in names:
            raise UnknownRule(
                f"{app.name} has no retention rule {name!r}.", hint=did_you_mean(name, names)
            )
    return [rule for rule in rules if not only or rule.name in only]


def _refuse_levelling(rules: Sequence[Rule], only: Sequence[str]) -> None:
    ages = {rule.older_than for rule in rules}
    if len(ages) > 1 and not only:
        raise UsageError(
            f"--days would give one age to rules that have {len(ages)} different ones.",
            hint="Name the rule that it is for: --rule "
            f"{rules[0].name} --days …; see leadctl cleanup --list",
        )


def _refuse_senseless(rule: Rule) -> None:
    try:
        age = rule.age
    except ValueError:
        raise InvalidRule(
            f"The rule {rule.name} has older_than = {rule.older_than!r}.",
            hint=f"Allowed is {INTERVAL}.",
        ) from None
    if age.is_zero and not rule.expiry:
        raise InvalidRule(
            f"The rule {rule.name} has older_than = {rule.older_than!r}: every row of "
            f"{rule.table} would be due. Nothing was changed.",
            hint="Give an age. Where the age column says when a row ends, add expiry = true.",
        )
    if not 0 < rule.fuse_share <= 1 or rule.fuse_rows < 0 or (rule.max_rows or 1) < 1:
        raise InvalidRule(
            f"The limits of the rule {rule.name} make no sense.",
            hint="fuse_share is above 0 and at most 1, fuse_rows at least 0, max_rows at least 1.",
        )
