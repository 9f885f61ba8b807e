"""${message}.

Revision: ${up_revision}
Follows: ${down_revision | comma,n}
Created: ${create_date.strftime("%Y-%m-%d %H:%M:%S")}
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
