"""Run by Alembic to upgrade, on the connection that it is handed."""

from alembic import context

from headrace.control.store.migrate import CONNECTION
from headrace.control.store.tables import metadata

context.configure(
    connection=context.config.attributes[CONNECTION],
    target_metadata=metadata,
)
context.run_migrations()
