"""The tables, as of the latest migration."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

from headrace.control.store.columns import Prose, UtcDateTime

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

services = Table(
    "services",
    metadata,
    Column("name", Text, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    # The highest number of its revisions, deleted ones included, so that none is reused.
    Column("last_number", Integer, nullable=False),
)

revisions = Table(
    "revisions",
    metadata,
    Column("service", Text, ForeignKey("services.name", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("spec", JSON, nullable=False),
    Column("phase", Text, nullable=False, index=True),
    Column("num_desired_replicas", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

replicas = Table(
    "replicas",
    metadata,
    Column("replica_id", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("cause", Prose),
    Column("pid", BigInteger),
    Column("process_started_at", Double),  # seconds since the epoch, as the system tells it
    Column("host_ports", JSON, nullable=False),
    Column("log_path", Text),
    Column("gpus", JSON),
    ForeignKeyConstraint(
        ["service", "revision"], ["revisions.service", "revisions.number"], ondelete="CASCADE"
    ),
    # Most rows are of gone replicas; the indexes find live and recent ones without scanning them.
    Index("ix_replicas_state", "state", "changed_at"),
    Index("ix_replicas_service", "service", "revision", "state", "changed_at"),
    Index("ix_replicas_created_at", "service", "created_at", "replica_id"),
)

history = Table(
    "history",
    metadata,
    Column("service", Text, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("step_s", Integer, primary_key=True, autoincrement=False),
    Column("begins_at", BigInteger, primary_key=True, autoincrement=False),  # Unix time
    Column("samples", LargeBinary, nullable=False),
    ForeignKeyConstraint(
        ["service", "revision"], ["revisions.service", "revisions.number"], ondelete="CASCADE"
    ),
    # For retention, and for the blocks of all revisions that are being written.
    Index("ix_history_begins_at", "step_s", "begins_at"),
)

gateways = Table(
    "gateways",
    metadata,
    Column("service", Text, ForeignKey("services.name", ondelete="CASCADE"), primary_key=True),
    Column("is_enabled", Boolean, nullable=False),
    Column("targets", JSON, nullable=False),
    Column("applied_targets", JSON, nullable=False),
    Column("status", Text, nullable=False),
    Column("message", Prose, nullable=False),
    Column("options", JSON, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("cause", Prose),
    Column("pid", BigInteger),
    Column("process_started_at", Double),
    Column("host_ports", JSON, nullable=False),
    Column("folder", Text),
    Column("exit_code", Integer),
    Column("reproduced_from", Text),
    Column("gpus", JSON),
    Index("ix_runs_created_at", "created_at", "run_id"),
)

events = Table(
    "events",
    metadata,
    Column("event_id", Integer, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("subject", Text, nullable=False),
    Column("what", Prose, nullable=False),
    Column("why", Prose, nullable=False),
    # No foreign keys: events outlive their subjects.
    Column("service", Text),
    Column("run_id", Text),
    # With the id, so that the newest events of one service are found without scanning others'.
    Index("ix_events_service", "service", "event_id"),
    Index("ix_events_run_id", "run_id", "event_id"),
    sqlite_autoincrement=True,  # ids are never reused
)

tokens = Table(
    "tokens",
    metadata,
    Column("name", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("token_hash", Text, nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
)

service_keys = Table(
    "service_keys",
    metadata,
    Column("service", Text, ForeignKey("services.name", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("key_hash", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

# Without foreign keys: usage outlives services and keys.
usage = Table(
    "usage",
    metadata,
    Column("day", Text, primary_key=True),  # of UTC, such as 2026-01-31
    Column("service", Text, primary_key=True),
    Column("key_name", Text, primary_key=True),  # empty: the request had none
    Column("model", Text, primary_key=True),
    Column("num_requests", BigInteger, nullable=False),
    Column("num_errors", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
)

# One row: the gateway's counters that have been added to the usage.
usage_baseline = Table(
    "usage_baseline",
    metadata,
    Column("gateway_id", Text, primary_key=True),
    Column("totals", JSON, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
