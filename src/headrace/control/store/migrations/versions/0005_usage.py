"""Usage by day, service, API key and model."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "usage",
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("key_name", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("num_requests", sa.BigInteger, nullable=False),
        sa.Column("num_errors", sa.BigInteger, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("day", "service", "key_name", "model", name="pk_usage"),
    )
    op.create_table(
        "usage_baseline",
        sa.Column("gateway_id", sa.Text, nullable=False),
        sa.Column("totals", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("gateway_id", name="pk_usage_baseline"),
    )
