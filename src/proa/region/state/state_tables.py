"""The tables of a region's state. Times are milliseconds since 1970, UTC."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

Serial = BigInteger().with_variant(Integer, "sqlite")
"""A number that the database gives out; never given out twice."""


meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", String(32), primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("user_name", String(255), nullable=False),
    Column("comment", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
)

objects = Table(
    "objects",
    metadata,
    Column("object_id", Serial, primary_key=True),
    Column("path", String(1024), nullable=False, unique=True),
    Column("parent", String(1024), nullable=False, index=True),
    Column("object_type", String(16), nullable=False),
    Column("language", String(16)),
    Column("content", LargeBinary),
    Column("size", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("modified_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

secret_scopes = Table(
    "secret_scopes",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
)

secrets = Table(
    "secrets",
    metadata,
    Column(
        "scope", String(128), ForeignKey("secret_scopes.name", ondelete="CASCADE"), primary_key=True
    ),
    Column("key", String(128), primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

secret_acls = Table(
    "secret_acls",
    metadata,
    Column(
        "scope", String(128), ForeignKey("secret_scopes.name", ondelete="CASCADE"), primary_key=True
    ),
    Column("principal", String(255), primary_key=True),
    Column("permission", String(16), nullable=False),
)

permissions = Table(
    "permissions",
    metadata,
    Column("object_type", String(64), primary_key=True),
    Column("object_id", String(128), primary_key=True),
    Column("acl", JSON, nullable=False),
)

pipelines = Table(
    "pipelines",
    metadata,
    Column("number", Serial, primary_key=True),
    Column("pipeline_id", String(36), nullable=False, unique=True),
    Column("name", Text, nullable=False, index=True),
    Column("spec", JSON, nullable=False),
    Column("creator", String(255), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("modified_at", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    # Whether a continuous pipeline is to be kept running; `stop` clears it.
    Column("wanted", Boolean, nullable=False),
    # Failures in a row of a continuous pipeline, and when it is tried again.
    Column("failures", Integer, nullable=False),
    Column("retry_at", BigInteger),
    sqlite_autoincrement=True,
)

updates = Table(
    "updates",
    metadata,
    Column("number", Serial, primary_key=True),
    Column("update_id", String(36), nullable=False, unique=True),
    Column(
        "pipeline_id",
        String(36),
        ForeignKey("pipelines.pipeline_id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("state", String(32), nullable=False, index=True),
    Column("cause", String(32), nullable=False),
    Column("request", JSON, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("continuous", Boolean, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("stop_requested", Boolean, nullable=False),
    Column("error", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    # The pipeline's id while the update is active, NULL after: one active update a pipeline.
    Column("active", String(36), unique=True),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    Column("number", Serial, primary_key=True),
    Column("event_id", String(64), nullable=False),
    Column(
        "pipeline_id",
        String(36),
        ForeignKey("pipelines.pipeline_id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("update_id", String(36)),
    Column("timestamp", BigInteger, nullable=False),
    Column("event_type", String(64), nullable=False),
    Column("level", String(16), nullable=False),
    Column("body", JSON, nullable=False),
    Index("ix_events_pipeline", "pipeline_id", "timestamp", "number"),
    Index("ix_events_update", "update_id", "timestamp", "number"),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", Serial, primary_key=True),
    Column("name", Text, nullable=False, index=True),
    Column("settings", JSON, nullable=False),
    Column("creator", String(255), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("modified_at", BigInteger, nullable=False),
    Column("last_number", Integer, nullable=False),
    # When the schedule fires next, and failures in a row of a continuous job.
    Column("next_fire_at", BigInteger, index=True),
    Column("failures", Integer, nullable=False),
    # Whether it is continuous, and whether it waits for files; neither when it is paused.
    Column("keeps_running", Boolean, nullable=False, index=True),
    Column("watches_files", Boolean, nullable=False, index=True),
    # What a job that waits for files has seen of them.
    Column("arrival", JSON),
    sqlite_autoincrement=True,
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", Serial, primary_key=True),
    # NULL for the run of a job, that run's id for an attempt at one of its tasks.
    Column("parent_id", BigInteger, index=True),
    Column("job_id", BigInteger, nullable=False, index=True),
    Column("number_in_job", BigInteger, nullable=False),
    Column("run_type", String(16), nullable=False),
    Column("name", Text, nullable=False),
    Column("task_key", String(128)),
    Column("attempt", Integer, nullable=False),
    # A run: the job's settings at its start. An attempt: the task's.
    Column("settings", JSON, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("trigger", String(24), nullable=False),
    Column("creator", String(255), nullable=False),
    Column("life_cycle", String(24), nullable=False, index=True),
    Column("result", String(48)),
    Column("code", String(48)),
    Column("message", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("not_before", BigInteger),
    Column("cancel_requested", Boolean, nullable=False),
    # What an attempt is waiting for or has started.
    Column("update_id", String(36)),
    Column("child_id", BigInteger),
    Column("output", JSON),
    Column("repair_id", BigInteger),
    Column("repairs", JSON, nullable=False),
    Column("idempotency", String(128)),
    UniqueConstraint("idempotency", name="uq_runs_idempotency"),
    sqlite_autoincrement=True,
)
