"""Jobs that are kept running or watch for files, in columns of their own; access lists of secrets."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "jobs", sa.Column("keeps_running", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column(
        "jobs", sa.Column("watches_files", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("jobs", sa.Column("arrival", sa.JSON()))
    op.create_index("ix_jobs_keeps_running", "jobs", ["keeps_running"])
    op.create_index("ix_jobs_watches_files", "jobs", ["watches_files"])
    op.create_table(
        "secret_acls",
        sa.Column("scope", sa.String(length=128), nullable=False),
        sa.Column("principal", sa.String(length=255), nullable=False),
        sa.Column("permission", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["scope"], ["secret_scopes.name"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("scope", "principal"),
    )
    _mark_continuous_jobs()


def downgrade() -> None:
    op.drop_table("secret_acls")
    op.drop_index("ix_jobs_watches_files", "jobs")
    op.drop_index("ix_jobs_keeps_running", "jobs")
    op.drop_column("jobs", "arrival")
    op.drop_column("jobs", "watches_files")
    op.drop_column("jobs", "keeps_running")


def _mark_continuous_jobs() -> None:
    """Say in its column which of the jobs that are there is kept running."""
    jobs = sa.table(
        "jobs", sa.column("job_id"), sa.column("settings", sa.JSON()), sa.column("keeps_running")
    )
    connection = op.get_bind()
    for job_id, settings in connection.execute(sa.select(jobs.c.job_id, jobs.c.settings)).all():
        continuous = settings.get("continuous") or {}
        if continuous and continuous.get("pause_status", "UNPAUSED") != "PAUSED":
            connection.execute(
                sa.update(jobs).where(jobs.c.job_id == job_id).values(keeps_running=True)
            )
