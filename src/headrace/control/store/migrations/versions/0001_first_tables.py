"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "services",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("last_number", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_services"),
    )
    op.create_table(
        "revisions",
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("num_desired_replicas", sa.Integer, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.ForeignKeyConstraint(
            ["service"],
            ["services.name"],
            name="fk_revisions_services",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("service", "number", name="pk_revisions"),
    )
    op.create_table(
        "replicas",
        sa.Column("replica_id", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("changed_at", moment, nullable=False),
        sa.Column("cause", sa.Text),
        sa.Column("pid", sa.BigInteger),
        sa.Column("process_started_at", sa.Double),
        sa.Column("host_ports", sa.JSON, nullable=False),
        sa.Column("log_path", sa.Text),
        sa.ForeignKeyConstraint(
            ["service", "revision"],
            ["revisions.service", "revisions.number"],
            name="fk_replicas_revisions",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("replica_id", name="pk_replicas"),
    )
    op.create_index("ix_replicas_state", "replicas", ["state"])
    op.create_index("ix_replicas_service", "replicas", ["service", "revision"])
    op.create_table(
        "gateways",
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("is_enabled", sa.Boolean, nullable=False),
        sa.Column("targets", sa.JSON, nullable=False),
        sa.Column("applied_targets", sa.JSON, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.ForeignKeyConstraint(
            ["service"],
            ["services.name"],
            name="fk_gateways_services",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("service", name="pk_gateways"),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("changed_at", moment, nullable=False),
        sa.Column("cause", sa.Text),
        sa.Column("pid", sa.BigInteger),
        sa.Column("process_started_at", sa.Double),
        sa.Column("host_ports", sa.JSON, nullable=False),
        sa.Column("folder", sa.Text),
        sa.Column("exit_code", sa.Integer),
        sa.Column("reproduced_from", sa.Text),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
    )
    op.create_index("ix_runs_state", "runs", ["state"])
    op.create_table(
        "events",
        sa.Column("event_id", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("service", sa.Text),
        sa.Column("run_id", sa.Text),
        sa.PrimaryKeyConstraint("event_id", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_service", "events", ["service"])
    op.create_index("ix_events_run_id", "events", ["run_id"])
    op.create_table(
        "tokens",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_tokens"),
        sa.UniqueConstraint("token_hash", name="uq_tokens_token_hash"),
    )
    op.create_table(
        "service_keys",
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("key_hash", sa.Text, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.ForeignKeyConstraint(
            ["service"],
            ["services.name"],
            name="fk_service_keys_services",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("service", "name", name="pk_service_keys"),
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_secrets"),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
    )
