"""Views of keys: a new one, the count, a rotation."""

from collections.abc import Iterator

from leadctl.keys.encrypted_values import ColumnKeys
from leadctl.keys.rotate import RotateResult
from leadctl.keys.status import KeysStatus, NewKey
from leadctl.render.blocks import Block, Cell, Grid, Line, numbers
from leadctl.text import counted


def generate(result: NewKey) -> list[Block]:
    """The key, alone on its line."""
    return [Line(result.key)]


def status(result: KeysStatus) -> Iterator[Block]:
    """The keyring, then the values of each column by what they are."""
    if result.keys:
        rows = [(key.label, key.fingerprint, _role(key.primary, key.legacy)) for key in result.keys]
        yield Grid(["Key", "Fingerprint", "Role"], rows)
    else:
        yield Line("No encryption key is set; make one: leadctl keys generate", "warn")
    if not result.columns:
        yield Line(f"{result.app} has no encrypted columns in {result.database}.")
        return
    labels = {key.fingerprint: key.label for key in result.keys if not key.legacy}
    grid = [
        (f"{column.table}.{column.column}", what, number)
        for column in result.columns
        for what, number in _values(column, labels)
    ]
    yield Grid(["Column", "Values are", *numbers("Count")], grid)
    yield from _verdict(result)


def rotate(result: RotateResult) -> Iterator[Block]:
    """What was done, then the count."""
    if result.dry_run:
        yield Line(f"{counted(result.rows, 'row')} would be checked; nothing was changed.")
    else:
        yield Line(f"{counted(result.rows, 'row')} re-encrypted to the key {result.primary}.")
    if result.unreadable:
        yield Line(f"{counted(result.unreadable, 'value')} cannot be read with any key:", "bad")
        rows = [(f"{v.table}.{v.column}", v.key, v.reason) for v in result.examples]
        yield Grid(["Column", "Row", "Why"], rows)
    yield from status(result.status)


def _role(primary: bool, legacy: bool) -> str:
    if legacy:
        return "reads values of the Node helper"
    return "encrypts and reads" if primary else "reads"


def _values(column: ColumnKeys, labels: dict[str, str]) -> list[tuple[Cell | str, int]]:
    rows: list[tuple[Cell | str, int]] = []
    for fingerprint, number in column.under.items():
        label = labels.get(fingerprint)
        known = f"under {label}, {fingerprint}"
        missing = Cell(f"under {fingerprint}, which is not in the keyring", "bad")
        rows.append((known if label else missing, number))
    rows += [
        (Cell("of the Node helper", "warn"), column.legacy),
        (Cell("malformed", "bad"), column.malformed),
        *(
            (Cell(f"foreign: they look like {tool}", "bad"), number)
            for tool, number in column.foreign.items()
        ),
        (Cell("plaintext", "bad"), column.plaintext),
    ]
    return [row for row in rows if row[1]] or [("(no values)", 0)]


def _verdict(result: KeysStatus) -> Iterator[Line]:
    """What to do next, for each kind of value that no key reads."""
    columns = result.columns
    for found, what in (
        (any(each.unknown for each in columns), "Some values are under keys that are missing here: "
            "add them to ENCRYPTION_KEYS."),
        (any(each.malformed for each in columns), "Malformed values were changed or cut short: no "
            "key reads them."),
        (any(each.foreign for each in columns), "Some values look like another tool's ciphertext "
            "or hash: decrypt them with that tool first. If they are plaintext: leadctl keys "
            "rotate --encrypt-foreign"),
        (any(each.plaintext for each in columns), "Encrypt plaintext with: leadctl keys rotate "
            "--encrypt-plaintext"),
    ):  # fmt: skip
        if found:
            yield Line(what, "bad")
    if not result.ok:
        return
    primary = next((key.fingerprint for key in result.keys if key.primary), None)
    due = sum(
        column.legacy + sum(n for found, n in column.under.items() if found != primary)
        for column in columns
    )
    if due:
        count = counted(due, "value")
        yield Line(f"{count} not yet under the primary key: leadctl keys rotate", "warn")
    else:
        yield Line("Every value is under the primary key.", "good")
