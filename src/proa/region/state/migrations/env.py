"""Run by Alembic: migrate over the connection that `Database` hands in."""

from alembic import context

from proa.region.state.state_tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
