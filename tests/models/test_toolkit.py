"""The models toolkit: ids, pages, soft delete, retried transactions, relations."""

import sys
import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from leadctl.crypto import Key, Keyring, using
from leadctl.models import (
    TYPES,
    SoftDelete,
    Timestamps,
    UuidId,
    new_metadata,
    only_active,
    paginate,
    with_retry,
)
from leadctl.postgres.engine import run_engine
from leadctl.products.leadconnector import queries
from leadctl.products.leadconnector.models import Lead, Page, User, WebhookDelivery
from tests.conftest import KEY, Cli, Prepared
from tests.servers import Server


class Base(DeclarativeBase):
    metadata = new_metadata()
    type_annotation_map = TYPES


class Note(UuidId, Timestamps, SoftDelete, Base):
    __tablename__ = "notes"

    text: Mapped[str]
    rank: Mapped[int] = mapped_column(default=0)


@pytest.fixture
def engine(leadconnector: Prepared) -> Engine:
    engine = run_engine(leadconnector.target(), "test")
    Base.metadata.create_all(engine)
    return engine


def test_pages(engine: Engine) -> None:
    with Session(engine) as session:
        session.add_all(Note(text=f"{number:02}", rank=number // 10) for number in range(25))
        session.commit()
        seen: list[str] = []
        for number in (1, 2, 3):
            page = paginate(
                session, select(Note), page=number, limit=10, sort_by=Note.rank, descending=True
            )
            seen += [note.text for note in page.data]
            assert (page.total, page.pages, page.has_previous) == (25, 3, number > 1)
            assert page.has_next == (number < 3)
        assert sorted(seen) == [f"{number:02}" for number in range(25)]
        assert seen[:5] == sorted(seen[:5], key=seen.index)
        assert set(seen[:5]) == {"20", "21", "22", "23", "24"}
        assert paginate(session, select(Note), page=-3, limit=0).data == [
            session.scalars(select(Note).order_by(Note.id)).first()
        ]


def test_soft_delete_and_restore(engine: Engine) -> None:
    with Session(engine) as session:
        kept, gone = Note(text="kept"), Note(text="gone")
        session.add_all([kept, gone])
        gone.soft_delete()
        session.commit()
        assert session.scalars(only_active(select(Note))).all() == [kept]
        assert gone.is_deleted
        first = gone.deleted_at
        gone.soft_delete()
        assert gone.deleted_at == first
        gone.restore()
        session.commit()
        assert len(session.scalars(only_active(select(Note))).all()) == 2


def test_timestamps_are_set_by_the_server_and_moved_by_changes(engine: Engine) -> None:
    with Session(engine) as session:
        note = Note(text="a")
        session.add(note)
        session.commit()
        made = note.updated_at
        assert (datetime.now(UTC) - note.created_at).total_seconds() < 60
        note.text = "b"
        session.commit()
        assert note.updated_at > made


def test_serialization_failures_are_retried(engine: Engine) -> None:
    serializable = engine.execution_options(isolation_level="SERIALIZABLE")
    sessions = sessionmaker(serializable)
    with Session(engine) as session:
        session.add(Note(text="counter"))
        session.commit()
    together = threading.Barrier(2)
    attempts: list[int] = []

    def add(amount: int) -> None:
        met = False

        def work(session: Session) -> None:
            nonlocal met
            attempts.append(amount)
            note = session.scalars(select(Note)).one()
            if not met:  # both have read before either writes: one of them must fail
                met = True
                together.wait(10)
            note.rank += amount

        with_retry(sessions, work, attempts=5, delay=0.01)

    threads = [threading.Thread(target=add, args=(amount,)) for amount in (1, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Session(engine) as session:
        assert session.scalars(select(Note)).one().rank == 11
    assert len(attempts) >= 3


def test_other_errors_are_not_retried(engine: Engine) -> None:
    attempts: list[int] = []

    def work(session: Session) -> None:
        attempts.append(1)
        session.execute(text("SELECT 1/0"))

    with pytest.raises(DBAPIError):
        with_retry(sessionmaker(engine), work, attempts=5, delay=0.01)
    assert len(attempts) == 1


def test_retries_are_bounded(engine: Engine) -> None:
    attempts: list[int] = []

    def work(session: Session) -> None:
        attempts.append(1)
        session.execute(text("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"))

    with pytest.raises(DBAPIError):
        with_retry(sessionmaker(engine), work, attempts=3, delay=0.001)
    assert len(attempts) == 3


@pytest.mark.thorough
def test_relations_of_the_document(engine: Engine) -> None:
    with using(Keyring([Key.from_hex("ours", KEY)])), Session(engine) as session:
        page = session.scalars(select(Page)).one()
        lead = Lead(
            facebook_lead_id="1", form_id="f", form_name="Form", lead_data={"a": 1}, page=page
        )
        session.add(WebhookDelivery(lead=lead, webhook_id="test_webhook_id"))
        session.commit()
        assert len(lead.id) == 24
        session.expunge_all()
        user = session.scalars(queries.users_with_pages()).one()
        hooks = session.scalars(queries.users_with_webhooks()).one().webhooks
        leads = session.scalars(queries.pages_with_leads()).one().leads
        configs = session.scalars(queries.pages_with_webhooks()).one().webhook_configs
        deliveries = session.scalars(queries.leads_with_deliveries()).one().deliveries
        of_lead = session.scalars(queries.leads_with_page()).one().page
        of_hook = session.scalars(queries.webhooks_with_deliveries()).one().deliveries
        pages = session.scalars(queries.webhooks_with_pages()).one().page_configs
        detailed = session.scalars(queries.deliveries_with_details()).one()
        everything = (user, hooks, leads, configs, deliveries, of_lead, of_hook, pages, detailed)
        session.expunge_all()  # nothing more can be loaded: what is read below was loaded together
        assert everything[0].pages[0].name == "Test Business Page"
        assert hooks[0].name == "Test Webhook"
        assert leads[0].lead_data == {"a": 1}
        assert configs[0].webhook.name == "Test Webhook"
        assert deliveries[0].status.value == "PENDING"
        assert of_lead.name == "Test Business Page"
        assert len(of_hook) == 1
        assert pages[0].page.name == "Test Business Page"
        assert (detailed.webhook.name, detailed.lead.page.name) == (
            "Test Webhook",
            "Test Business Page",
        )


def test_deleting_a_user_takes_everything_along(engine: Engine, leadconnector: Prepared) -> None:
    with using(Keyring([Key.from_hex("ours", KEY)])), Session(engine) as session:
        session.delete(session.scalars(select(User)).one())
        session.commit()
    assert leadconnector.query(
        "SELECT (SELECT count(*) FROM pages) + (SELECT count(*) FROM webhooks)"
        " + (SELECT count(*) FROM page_webhook_configs)"
    ) == [(0,)]


@pytest.mark.parametrize(("app", "package"), [("leadconnector", "cuid2"), ("cleack", "bcrypt")])
def test_a_missing_package_is_named_with_what_installs_it(
    app: str,
    package: str,
    server: Server,
    database: str,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    place = {"url": server.url(database), "env": {"LEADCTL_APP": app}}
    assert cli("migrate", **place).code == 0
    assert cli("keys", "status", **place).code == 0
    outcome = cli("seed", **place)
    assert (outcome.code, outcome.out) == (3, "")
    assert f"needs the package {package}" in outcome.err
    assert f"pip install {package}" in outcome.err
    assert "extra apps" in outcome.err
