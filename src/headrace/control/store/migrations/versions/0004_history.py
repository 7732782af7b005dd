"""Metrics of revisions over time."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "history",
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("step_s", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("begins_at", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("samples", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["service", "revision"],
            ["revisions.service", "revisions.number"],
            name="fk_history_revisions",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("service", "revision", "step_s", "begins_at", name="pk_history"),
    )
    op.create_index("ix_history_begins_at", "history", ["step_s", "begins_at"])
