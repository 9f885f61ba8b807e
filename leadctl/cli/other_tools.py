"""What people type who come from another tool, and the command that does it here.

docs/coming-from.md is the same by what one wants to do.  Words that are commands here, too, are
none of these: they do what they say.
"""

from collections.abc import Sequence
from itertools import pairwise, takewhile

_PRISMA = {
    "migrate deploy": "leadctl migrate",
    "migrate reset": "leadctl reset",
    "migrate dev --name": "leadctl migrate dev -m NAME",
    "migrate dev -n": "leadctl migrate dev -m NAME",
    "migrate dev --create-only": "leadctl migrate new -m NAME",
    "migrate dev --skip-seed": "leadctl migrate dev -m NAME",
    "migrate diff --from-empty": "leadctl migrate diff base models",
    "migrate diff --from-migrations": "leadctl migrate diff record models",
    "migrate diff --from-schema-datasource": "leadctl migrate diff database models",
    "migrate diff --from-url": "leadctl migrate diff database models",
    "migrate diff --exit-code": "leadctl migrate check",
    "db pull": "leadctl init --from-database",
    "db seed": "leadctl seed",
    "db execute": "leadctl db shell",
    "db push --accept-data-loss": "leadctl db push --yes",
    "db push --force-reset": "leadctl reset",
    "introspect": "leadctl init --from-database",
    "validate": "leadctl schema validate",
    "format": "leadctl schema validate",
    "generate": "",
    "status": "leadctl migrate status",
    "init --datasource-provider": "leadctl init",
}
_ALEMBIC = {
    "upgrade": "leadctl migrate",
    "upgrade --sql": "leadctl migrate --sql",
    "downgrade": "leadctl migrate down",
    "revision": "leadctl migrate new --empty -m NAME",
    "revision --autogenerate": "leadctl migrate new -m NAME",
    "current": "leadctl migrate status",
    "heads": "leadctl migrate status",
    "branches": "leadctl migrate status",
    "show": "leadctl migrate history",
    "stamp": "leadctl migrate resolve --applied REV",
    "merge": "leadctl migrate new --merge",
    "check": "leadctl migrate check",
    "ensure_version": "leadctl migrate status",
    "list_templates": "leadctl init",
    "migrate upgrade": "leadctl migrate",
    "migrate downgrade": "leadctl migrate down",
    "migrate revision": "leadctl migrate new -m NAME",
    "migrate current": "leadctl migrate status",
    "migrate heads": "leadctl migrate status",
    "migrate stamp": "leadctl migrate resolve --applied REV",
    "migrate merge": "leadctl migrate new --merge",
    "db upgrade": "leadctl migrate",
    "db downgrade": "leadctl migrate down",
    "db migrate": "leadctl migrate new -m NAME",
    "db init": "leadctl init",
    "db revision": "leadctl migrate new --empty -m NAME",
    "db current": "leadctl migrate status",
    "db history": "leadctl migrate history",
    "db stamp": "leadctl migrate resolve --applied REV",
    "db merge": "leadctl migrate new --merge",
}
"""`flask db` is Alembic's, too."""
_RAILS = {
    "db:create": "leadctl migrate",
    "db:drop": "leadctl db destroy",
    "db:migrate": "leadctl migrate",
    "db:migrate:status": "leadctl migrate status",
    "db:migrate:up": "leadctl migrate up REV",
    "db:migrate:down": "leadctl migrate down",
    "db:migrate:redo": "leadctl migrate down",
    "db:abort_if_pending_migrations": "leadctl migrate status",
    "db:rollback": "leadctl migrate down",
    "db:version": "leadctl migrate status",
    "db:prepare": "leadctl migrate",
    "db:setup": "leadctl migrate",
    "db:reset": "leadctl reset",
    "db:migrate:reset": "leadctl reset",
    "db:seed": "leadctl seed",
    "db:seed:replant": "leadctl seed --replant",
    "db:fixtures:load": "leadctl seed",
    "db:schema:dump": "leadctl schema dump",
    "db:schema:load": "leadctl migrate",
    "db:structure:dump": "leadctl schema dump",
    "db:environment:set": "leadctl db environment NAME",
    "db:encryption:init": "leadctl keys generate",
    "dbconsole": "leadctl db shell",
    "generate migration": "leadctl migrate new -m NAME",
    "generate model": "leadctl migrate dev -m NAME",
    "g migration": "leadctl migrate new -m NAME",
}
_DJANGO = {
    "makemigrations": "leadctl migrate new -m NAME",
    "makemigrations --empty": "leadctl migrate new --empty -m NAME",
    "makemigrations --merge": "leadctl migrate new --merge",
    "makemigrations --check": "leadctl migrate check",
    "migrate --fake": "leadctl migrate resolve --applied REV",
    "migrate --fake-initial": "leadctl migrate resolve --applied REV",
    "migrate --check": "leadctl migrate status",
    "migrate --list": "leadctl migrate status",
    "migrate --run-syncdb": "leadctl db push",
    "migrate zero": "leadctl migrate down base",
    "showmigrations": "leadctl migrate status",
    "sqlmigrate": "leadctl migrate --sql",
    "squashmigrations": "",
    "optimizemigration": "",
    "inspectdb": "leadctl init --from-database",
    "dbshell": "leadctl db shell",
    "shell": "leadctl db shell",
    "flush": "leadctl reset",
    "sqlflush": "leadctl reset",
    "loaddata": "leadctl seed",
    "dumpdata": "leadctl seed --export TABLE",
    "diffsettings": "leadctl config",
    "startapp": "leadctl init",
    "startproject": "leadctl init --starter",
}
_HEROKU = {
    "pg": "leadctl stats",
    "pg:info": "leadctl stats",
    "pg:psql": "leadctl db shell",
    "pg:reset": "leadctl reset",
    "pg:credentials": "leadctl db url",
    "pg:credentials:url": "leadctl db url",
    "pg:kill": "leadctl db shell",
    "pg:killall": "leadctl db shell",
    "pg:settings": "leadctl db shell",
    "pg:backups": "leadctl backup list",
    "pg:backups:capture": "leadctl backup",
    "pg:backups:info": "leadctl backup show",
    "pg:backups:restore": "leadctl restore",
    "pg:backups:delete": "leadctl backup prune",
    "pg:backups:download": "leadctl backup copy",
    "pg:backups:url": "leadctl backup copy",
    "pg:backups:schedule": "leadctl schedule cron backup",
    "pg:copy": "leadctl restore latest --into NAME",
    "pg:pull": "leadctl restore latest --url URL",
    "pg:push": "leadctl restore latest --url URL",
    "pg:diagnose": "leadctl health-check",
    "pg:wait": "leadctl health-check --wait 60s",
    "pg:ps": "leadctl inspect connections",
    "pg:locks": "leadctl inspect locks",
    "pg:blocking": "leadctl inspect blocking",
    "pg:bloat": "leadctl inspect bloat",
    "pg:outliers": "leadctl inspect slow-queries",
    "pg:long-running-queries": "leadctl inspect long-queries",
    "pg:cache-hit": "leadctl inspect cache-hit",
    "pg:index-usage": "leadctl inspect index-usage",
    "pg:unused-indexes": "leadctl inspect unused-indexes",
    "pg:seq-scans": "leadctl inspect index-usage",
    "pg:table-size": "leadctl inspect tables",
    "pg:total-table-size": "leadctl inspect tables",
    "pg:index-size": "leadctl inspect indexes",
    "pg:vacuum-stats": "leadctl inspect vacuum",
}
_ANYBODY = {
    "help": "leadctl --help",
    "version": "leadctl --version",
    "psql": "leadctl db shell",
    "console": "leadctl db shell",
    "dump": "leadctl backup",
    "rollback": "leadctl migrate down",
    "migrate rollback": "leadctl migrate down",
    "migrate create": "leadctl migrate new -m NAME",
    "migrate apply": "leadctl migrate",
    "migrate plan": "leadctl migrate --plan",
    "migrate --dry-run": "leadctl migrate --plan",
    "migrate latest": "leadctl migrate",
    "migrate make": "leadctl migrate new -m NAME",
    "migrate undo": "leadctl migrate down",
}
TOOLS = {
    "Prisma": _PRISMA,
    "Alembic": _ALEMBIC,
    "Rails": _RAILS,
    "Django": _DJANGO,
    "Heroku": _HEROKU,
    "": _ANYBODY,
}
"""By tool, what is typed there and the command here; empty where there is none.

What has no tool is of many.
"""
_PROGRAMS = {
    *("npx", "pnpm", "yarn", "prisma", "alembic", "flask", "bundle", "exec", "bin/rails", "rails"),
    *("rake", "python", "manage.py", "django-admin", "heroku"),
}


_WITH_VALUE = {"--env", "--url", "--app", "--schema", "--output", "-o", "--message", "-m"}
"""Options whose value is no word of a command."""


def hint_for(arguments: Sequence[str]) -> str | None:
    """Return the leadctl command for a command of another tool; None if there is none."""
    words = [
        each
        for before, each in pairwise(["", *arguments])
        if not (each.startswith("-") or before in _WITH_VALUE)
    ]
    programs = list(takewhile(_PROGRAMS.__contains__, words))
    words = words[len(programs) :]
    options = {each.partition("=")[0] for each in arguments if each.startswith("-")}
    found = max(
        (
            (len(phrase.split()), phrase, tool)
            for tool, phrases in TOOLS.items()
            for phrase in phrases
            if _is_typed(phrase.split(), words, options)
        ),
        default=None,
    )
    if found is None:
        return f"Without the program's name: leadctl {' '.join(words)}" if programs else None
    _, phrase, tool = found
    here = TOOLS[tool][phrase]
    if not tool:
        return f"Use: {here}"
    return f"What {tool} calls {phrase!r} is " + (f"here: {here}" if here else "not needed here.")


def _is_typed(phrase: Sequence[str], words: Sequence[str], options: set[str]) -> bool:
    plain = [each for each in phrase if not each.startswith("-")]
    return list(words[: len(plain)]) == plain and options >= set(phrase) - set(plain)
