"""The rules of lint that look at several statements: what one holds while another runs."""

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from leadctl.migrate.plan import LintFinding, PlannedStatement, TableEffect
from leadctl.migrate.revision import parsed
from leadctl.sql.lexer import Kind, Reader, split, tokens
from leadctl.sql.reach import begins_transaction

_SENDS = frozenset({"execute", "exec_driver_sql", "text", "DDL", "scalar"})
"""What is called with the text of a statement."""
_ALONE = (("CREATE",), ("DROP",), ("REINDEX",), ("ALTER", "TABLE"))
"""What runs outside a transaction only, where it says CONCURRENTLY."""


def control_of_transactions(text: str) -> Iterator[LintFinding]:
    """Yield a finding where a revision's file begins or ends a transaction by a statement."""
    module = parsed(text)
    if module is None:
        return  # whoever runs it says why it cannot be run
    if any(map(_is_control, _texts(module))) or any(
        _commits(each, text) for each in _calls(module)
    ):
        yield LintFinding(
            "transaction-control",
            "It begins or ends a transaction itself: the statements before it are committed, "
            "even if later ones fail.",
            "Leave transactions to leadctl; use autocommit_block() for what must run outside one.",
        )


def _calls(module: ast.Module) -> Iterator[ast.Call]:
    return (each for each in ast.walk(module) if isinstance(each, ast.Call))


def _texts(module: ast.Module) -> Iterator[str]:
    """Yield the texts that may be sent: what is executed, and any that are several statements.

    A text of one word that is not executed may be a name: of a column, or of an enum's value.
    """
    sent = (arg for call in _calls(module) if _name(call) in _SENDS for arg in call.args)
    yield from map(_joined, sent)
    for node in ast.walk(module):
        text = _joined(node)
        if ";" in text:
            yield text


def _name(call: ast.Call) -> str:
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def _joined(node: ast.AST) -> str:
    """Return a text of the code, also one with computed parts; nothing of anything else."""
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_joined(each) or "computed" for each in node.values)
    return ""


def _is_control(text: str) -> bool:
    for each in split(text):
        if begins_transaction(each) is not None:
            return True
        if Reader(each).has("BEGIN"):
            return False  # the body of another system's trigger, which has an END of its own
    return False


def _commits(call: ast.Call, text: str) -> bool:
    """Whether a call is `op.get_bind().commit()`, by whatever name."""
    if _name(call) not in {"commit", "rollback"} or not isinstance(call.func, ast.Attribute):
        return False
    of = ast.unparse(call.func.value)
    return "get_bind" in of or re.search(rf"\b{re.escape(of)}\s*=.*\bget_bind\(", text) is not None


def between_statements(
    statements: Sequence[PlannedStatement],
    is_big: Callable[[TableEffect], bool],
    told: frozenset[int],
    has_policies: Callable[[str], bool],
) -> Iterator[LintFinding]:
    """Yield what is dangerous in statements together.

    `told` are the numbers of those whose work on a table was already found; `has_policies` tells
    whether a table has policies now.
    """
    together = [(n, each) for n, each in enumerate(statements, 1) if each.transactional]
    yield from _concurrently_within(together)
    yield from _work_under_lock(together, is_big, told)
    yield from _values_used(together)
    yield from _no_policy(statements, has_policies)


def _concurrently_within(
    together: Sequence[tuple[int, PlannedStatement]],
) -> Iterator[LintFinding]:
    for number, statement in together:
        reader = Reader(statement.sql)
        vacuums = reader.peek().word == "VACUUM"
        alone = any(Reader(statement.sql).accept(*words) for words in _ALONE)
        if vacuums or (alone and reader.has("CONCURRENTLY")):
            what = "VACUUM" if vacuums else "CONCURRENTLY"
            yield LintFinding(
                "concurrently-in-transaction",
                f"{what} cannot run inside a transaction: the server refuses it.",
                "Put it in a revision of its own, in with op.get_context().autocommit_block().",
                number,
            )


def _work_under_lock(
    together: Sequence[tuple[int, PlannedStatement]],
    is_big: Callable[[TableEffect], bool],
    told: frozenset[int],
) -> Iterator[LintFinding]:
    held: TableEffect | None = None
    for number, statement in together:
        work = next((e for e in statement.effects if (e.scans or e.rewrites) and is_big(e)), None)
        if held and work and number not in told:
            yield LintFinding(
                "work-under-lock",
                f"It reads the whole of {work.table} while the transaction holds {held.lock} on "
                f"{held.table}, which blocks {held.blocks} until it ends.",
                "Put it in the next revision, which is a transaction of its own.",
                number,
            )
        locks = (e for e in statement.effects if e.blocks and not e.is_new and is_big(e))
        held = held or next(locks, None)


def _values_used(together: Sequence[tuple[int, PlannedStatement]]) -> Iterator[LintFinding]:
    added: dict[str, str] = {}
    made: set[str] = set()
    for number, statement in together:
        texts = {each.text for each in tokens(statement.sql) if each.kind is Kind.STRING}
        for value, kind in added.items():
            if any(value[1:-1] in text for text in texts):
                yield LintFinding(
                    "enum-value-used",
                    f"The value {value} of {kind} was added in this transaction, and cannot be "
                    "used before it is committed.",
                    "Use it in the next revision.",
                    number,
                )
        reader = Reader(statement.sql)
        if reader.accept("CREATE", "TYPE"):
            made.add(reader.name())
        elif reader.accept("ALTER", "TYPE"):
            kind = reader.name()
            if reader.accept("ADD", "VALUE") and kind not in made:
                reader.skip_if_exists()
                added[reader.take().text] = kind


def _no_policy(
    statements: Sequence[PlannedStatement], has_policies: Callable[[str], bool]
) -> Iterator[LintFinding]:
    policies = set()
    for each in statements:
        reader = Reader(each.sql)
        if reader.accept("CREATE", "POLICY") and reader.skip_to("ON"):
            policies.add(reader.name())
    for number, each in enumerate(statements, 1):
        reader = Reader(each.sql)
        table = reader.altered_table()
        if table is None or not reader.has("ENABLE", "ROW"):
            continue
        is_new = any(effect.is_new for effect in each.effects)
        if not (is_new or table in policies or has_policies(table)):
            yield replace(_HIDES, message=_HIDES.message.format(table), statement=number)


_HIDES = LintFinding(
    "row-security-without-policy",
    "Row security is switched on for {}, which has no policy: all but its owner see no rows.",
    "Create the policies first, in the same revision.",
)
