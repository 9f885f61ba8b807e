"""What people type who come from other tools: each is answered with a command that there is."""

import shlex

import pytest
from typer.main import get_command

from leadctl.cli.commands import app
from leadctl.cli.other_tools import TOOLS
from tests.conftest import Cli

TYPED = [(tool, phrase, here) for tool, found in TOOLS.items() for phrase, here in found.items()]


@pytest.mark.parametrize(("tool", "phrase", "here"), TYPED)
def test_each_is_answered(tool: str, phrase: str, here: str, cli: Cli) -> None:
    outcome = cli(*phrase.split())
    assert outcome.code == 2
    said = outcome.err
    meant = f"here: {here}" if here else "not needed"
    hint = f"What {tool} calls '{phrase}' is {meant}" if tool else f"Use: {here}"
    assert f"Hint: {hint}" in said
    assert "Did you mean" not in said


@pytest.mark.few(20)
@pytest.mark.parametrize("here", sorted({here for *_, here in TYPED if here}))
def test_the_answer_is_a_command(here: str, cli: Cli) -> None:
    """Its words are commands, and its options are theirs: what is in capitals stands for a value."""
    program, *words = shlex.split(here)
    assert program == "leadctl"
    command = get_command(app)
    path = []
    while words and words[0] in getattr(command, "commands", {}):
        path.append(words.pop(0))
        command = command.commands[path[-1]]  # type: ignore[attr-defined]
    assert path or words in (["--help"], ["--version"])
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known | {"--help"}
    assert cli(*path, "--help").code == 0


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("prisma migrate deploy", "here: leadctl migrate"),
        ("npx prisma db seed", "here: leadctl seed"),
        ("alembic upgrade head", "here: leadctl migrate"),
        ("alembic revision --autogenerate -m x", "here: leadctl migrate new -m NAME"),
        ("revision -m x", "here: leadctl migrate new --empty -m NAME"),
        ("downgrade -1", "here: leadctl migrate down"),
        ("bin/rails db:migrate:status RAILS_ENV=test", "here: leadctl migrate status"),
        ("db:rollback STEP=3", "here: leadctl migrate down"),
        ("python manage.py makemigrations shop", "here: leadctl migrate new -m NAME"),
        ("manage.py migrate shop 0003", "leadctl migrate shop 0003"),
        ("migrate --env production deploy", "here: leadctl migrate"),
        ("heroku pg:backups:capture --app shop", "here: leadctl backup"),
        ("flask db upgrade", "here: leadctl migrate"),
        ("migrate dev --name=init", "here: leadctl migrate dev -m NAME"),
        ("lint --all", "Use: leadctl migrate lint"),
        ("rotate", "Use: leadctl keys rotate"),
        ("help migrate", "Use: leadctl --help"),
        ("migrate statsu", "Did you mean 'status'?"),
        ("stauts", "leadctl --help"),
        ("seed --bluk 3", "leadctl seed --help"),
    ],
)
def test_as_it_is_typed(typed: str, said: str, cli: Cli) -> None:
    outcome = cli(*typed.split())
    assert outcome.code == 2
    assert said in outcome.err
