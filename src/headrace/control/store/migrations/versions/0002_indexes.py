"""Indexes that find what is alive, and the newest, whatever there was before."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_index("ix_revisions_phase", "revisions", ["phase"])
    op.drop_index("ix_replicas_state", "replicas")
    op.create_index("ix_replicas_state", "replicas", ["state", "changed_at"])
    op.drop_index("ix_replicas_service", "replicas")
    op.create_index(
        "ix_replicas_service", "replicas", ["service", "revision", "state", "changed_at"]
    )
    op.create_index("ix_replicas_created_at", "replicas", ["service", "created_at", "replica_id"])
    op.create_index("ix_runs_created_at", "runs", ["created_at", "run_id"])
    op.drop_index("ix_events_service", "events")
    op.create_index("ix_events_service", "events", ["service", "event_id"])
    op.drop_index("ix_events_run_id", "events")
    op.create_index("ix_events_run_id", "events", ["run_id", "event_id"])
