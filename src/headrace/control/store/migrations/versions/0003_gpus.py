"""Which GPUs replicas and runs have."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for table in ("replicas", "runs"):
        op.add_column(table, sa.Column("gpus", sa.JSON))
