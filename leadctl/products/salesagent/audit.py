"""The audit log: entries about what somebody did to a row."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from sqlalchemy.orm import Session, object_session

from leadctl.products.salesagent.accounts import AuditLog, Organisation, OrganisationRecord, User
from leadctl.products.salesagent.enums import AuditAction

_SECRETS = {"password_hash", "token_hash"}
"""Columns that no entry has, whoever hands them in."""

Row = Organisation | OrganisationRecord


def snapshot(row: Row) -> dict[str, Any]:
    """Return a row's columns as JSON, without its secrets: `before` and `after` are made of it.

    What the row's session has not written yet is written first, so that defaults are there.
    """
    if (session := object_session(row)) is not None:
        session.flush()
    names = row.__table__.columns.keys()
    return {name: _plain(getattr(row, name)) for name in names if name not in _SECRETS}


def write_audit_log(
    session: Session,
    row: Row,
    action: AuditAction,
    *,
    actor: User | str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    ip: str | None = None,
    user_agent: str | None = None,
) -> AuditLog:
    """Insert an entry about what a user, or the job that `actor` names, did to a row.

    `before` and `after` are of a `snapshot`, whole or in part.  Does not commit, so that the entry
    is there exactly if what it tells of is.  Raises ValueError for an `ip` that is no address.
    """
    session.flush()  # a row that is new has an id only now
    entry = AuditLog(
        organisation_id=row.id if isinstance(row, Organisation) else row.organisation_id,
        user_id=None if isinstance(actor, str) else actor.id,
        actor=actor if isinstance(actor, str) else actor.email,
        action=action,
        entity=row.__tablename__,
        entity_id=row.id,
        before=_without_secrets(before),
        after=_without_secrets(after),
        ip_address=None if ip is None else ip_address(ip),
        user_agent=user_agent,
    )
    session.add(entry)
    session.flush()
    return entry


def _without_secrets(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    return {name: value for name, value in values.items() if name not in _SECRETS}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, IPv4Address | IPv6Address) else value
