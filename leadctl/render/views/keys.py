"""Views of keys: a new one, the count, a rotation."""

from leadctl.keys.encrypted_values import ColumnKeys
from leadctl.keys.rotate import RotateResult
from leadctl.keys.status import KeysStatus, NewKey
from leadctl.render.blocks import Block, Cell, Column, Grid, Line


def generate(result: NewKey) -> list[Block]:
    """The key, alone on its line."""
    return [Line(result.key)]


def status(result: KeysStatus) -> list[Block]:
    """The keyring, then the values of each column by what they are."""
    blocks: list[Block] = []
    if result.keys:
        rows = [(key.label, key.fingerprint, _role(key.primary, key.legacy)) for key in result.keys]
        blocks.append(Grid(["Key", "Fingerprint", "Role"], rows))
    else:
        blocks.append(Line("No encryption key is set; make one: leadctl keys generate", "warn"))
    if not result.columns:
        return [*blocks, Line(f"{result.app} has no encrypted columns in {result.database}.")]
    labels = {key.fingerprint: key.label for key in result.keys if not key.legacy}
    grid = [
        (f"{column.table}.{column.column}", what, number)
        for column in result.columns
        for what, number in _values(column, labels)
    ]
    blocks.append(Grid(["Column", "Values are", Column("Count", numbers=True)], grid))
    blocks.append(_verdict(result))
    return blocks


def rotate(result: RotateResult) -> list[Block]:
    """What was done, then the count."""
    if result.dry_run:
        first = Line(f"{result.rows:,} rows would be looked at; nothing was changed.")
    else:
        first = Line(f"{result.rows:,} rows re-encrypted to the key {result.primary}.")
    blocks: list[Block] = [first]
    if result.unreadable:
        blocks.append(Line(f"{result.unreadable:,} values cannot be read with any key:", "bad"))
        rows = [(f"{v.table}.{v.column}", v.key, v.reason) for v in result.examples]
        blocks.append(Grid(["Column", "Row", "Why"], rows))
    return [*blocks, *status(result.status)]


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
    if column.legacy:
        rows.append((Cell("of the Node helper", "warn"), column.legacy))
    if column.malformed:
        rows.append((Cell("malformed", "bad"), column.malformed))
    if column.plaintext:
        rows.append((Cell("plaintext", "bad"), column.plaintext))
    return rows or [("(no values)", 0)]


def _verdict(result: KeysStatus) -> Line:
    if not result.ok:
        return Line(
            "Not every value is ciphertext that a key reads. Add missing keys, or encrypt "
            "plaintext with: leadctl keys rotate --encrypt-plaintext",
            "bad",
        )
    primary = next((key.fingerprint for key in result.keys if key.primary), None)
    due = sum(
        column.legacy + sum(n for found, n in column.under.items() if found != primary)
        for column in result.columns
    )
    if due:
        return Line(f"{due:,} values are not under the primary key: leadctl keys rotate", "warn")
    return Line("Every value is under the primary key.", "good")
