"""Alembic's environment for leadctl's apps; `leadctl migrate` itself does not need it.

Each app's folder has an alembic.ini that names the app:
alembic -c migrations/leadconnector/alembic.ini upgrade head
"""

from alembic import context

from leadctl.migrate.executor import run_alembic

run_alembic(context)
