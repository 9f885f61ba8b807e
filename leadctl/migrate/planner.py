"""Plans revision after revision, knowing what the ones before it make."""

from collections.abc import Collection, Iterator, Sequence

from leadctl.apps.registry import App
from leadctl.errors import RevisionUnplannable
from leadctl.migrate.catalog_facts import live_facts
from leadctl.migrate.lint import rules
from leadctl.migrate.lint.findings import Finding, allowances
from leadctl.migrate.lint.squawk import find_squawk, squawk
from leadctl.migrate.live_tables import Holder, Loss, Tables
from leadctl.migrate.planned import PlannedRevision, PlannedStatement, TableEffect
from leadctl.migrate.reversible import is_reversible
from leadctl.migrate.revisions import History, Revision
from leadctl.migrate.script import Scripts, Statement
from leadctl.postgres.connect import Connection
from leadctl.sql.effects import effects, made_by
from leadctl.sql.locks import CatalogFacts, Effect, Lock
from leadctl.sql.statements import Reader


class Planner:
    """Plans the revisions of a history, in order.

    Without a connection every table that was not made is taken for one that is there and big.
    """

    def __init__(
        self,
        app: App,
        history: History,
        connection: Connection | None,
        schema: str,
        allow: Collection[str] = (),
    ) -> None:
        self._scripts = Scripts(history, app.version_table)
        self._connection = connection
        self._tables = Tables(connection, schema) if connection else None
        self._facts = live_facts(connection, schema) if connection else CatalogFacts()
        self._allow = allow
        self._made: dict[str, str | None] = {}
        """What the plan makes, and what it was before: the name of a live table, or None."""

    def forget(self) -> None:
        """Forget what was made until now: it is there when the next revision is applied."""
        self._made.clear()

    def revision(self, revision: Revision, *, down: bool = False) -> PlannedRevision:
        """Return what applying a revision would do, or undoing it."""
        reason = None
        statements: tuple[PlannedStatement, ...] = ()
        try:
            script = self._scripts.statements(revision, down=down)
        except RevisionUnplannable as error:
            reason = error.message
            found = [Finding(rules.UNPLANNABLE, error.message, error.hint)]
        else:
            statements = tuple(self._statement(statement) for statement in script)
            found = [*rules.findings(statements), *self._squawk(script, statements)]
        return PlannedRevision(
            revision.id,
            revision.message,
            is_reversible(revision.path),
            reason,
            statements,
            tuple(self._marked(found, allowances(revision.path))),
        )

    def _marked(self, found: Sequence[Finding], reasons: dict[str, str]) -> Iterator[Finding]:
        for finding in sorted(found, key=lambda finding: finding.statement or 0):
            reason = "--allow" if finding.rule in self._allow else reasons.get(finding.rule)
            yield Finding(
                finding.rule, finding.message, finding.hint, finding.statement, allowed=reason
            )

    def _statement(self, statement: Statement) -> PlannedStatement:
        planned = PlannedStatement(
            statement.sql,
            statement.transactional,
            tuple(
                self._effect(statement, effect) for effect in effects(statement.sql, self._facts)
            ),
        )
        made = made_by(statement.sql)
        if made:
            table, before = made
            self._made[table] = self._made.get(before, before) if before else None
        return planned

    def _effect(self, statement: Statement, effect: Effect) -> TableEffect:
        table = self._made.get(effect.table, effect.table)
        state = self._tables.state(table) if self._tables and table else None
        return TableEffect(
            table=effect.table,
            lock=effect.lock.words,
            blocks=effect.lock.blocks,
            rewrites=effect.rewrites,
            scans=effect.scans,
            is_new=table is None,
            bytes=state.bytes if state else None,
            rows=state.rows if state else None,
            waits_for=tuple(self._holders(statement, effect, table)) if state and table else (),
            loss=self._loss(statement, effect, table) if table and effect.drops else None,
        )

    def _holders(self, statement: Statement, effect: Effect, table: str) -> Iterator[str]:
        assert self._tables is not None
        concurrently = "CONCURRENTLY" in statement.sql.upper()
        for holder in self._tables.holders(table):
            # What works concurrently takes a weak lock, and waits for the writers all the same.
            if effect.lock.conflicts(holder.lock) or (
                concurrently and Lock.SHARE.conflicts(holder.lock)
            ):
                yield _describe(holder)

    def _loss(self, statement: Statement, effect: Effect, table: str) -> Loss | None:
        what = effect.drops.partition(", ")[0]
        if self._tables is None or Reader(statement.sql).has("WHERE"):
            return Loss(what, None, exact=False)
        loss = self._tables.loss(table, what)
        return None if loss.exact and loss.rows == 0 else loss

    def _squawk(
        self, script: Sequence[Statement], planned: Sequence[PlannedStatement]
    ) -> Iterator[Finding]:
        binary = find_squawk()
        if binary is None or not script:
            return
        version = self._connection.info.server_version if self._connection else None
        for finding in squawk(binary, script, version):
            assert finding.statement is not None
            touched = planned[finding.statement - 1].effects
            if not touched or not all(effect.is_new for effect in touched):
                yield finding


def _describe(holder: Holder) -> str:
    since = "" if holder.seconds is None else f" for {holder.seconds:,.0f} s"
    return f"{holder.who} (pid {holder.pid}), {holder.state}{since}, holds {holder.lock.words}"
