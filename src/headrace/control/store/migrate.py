"""Migrates a database to the latest schema; safe with concurrent starts.

To change the schema: change `tables.py`, write the next `migrations/versions/NNNN_*.py` (SQLite
alters tables by ``op.batch_alter_table``), and never change an older one. The tests compare the
migrated schema with the tables on both databases.
"""

import threading
from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from headrace.control.errors import StoreError

CONNECTION = "connection"
"""Attribute of the Alembic config that hands the connection to `migrations/env.py`."""

_alembic_lock = threading.Lock()
"""Alembic's ``op`` is one for the whole process."""


def is_current(connection: Connection) -> bool:
    """Whether there is nothing to migrate. Raises StoreError if the schema is unknown."""
    current = MigrationContext.configure(connection).get_current_revision()
    script = _script()
    if current is not None and current not in {known.revision for known in script.walk_revisions()}:
        raise StoreError(
            "The database was written by a newer version of Headrace. Install that version, or use "
            "another database."
        )
    return current == script.get_current_head()


def migrate(connection: Connection) -> None:
    """Run missing migrations in the connection's transaction, which has the write lock."""
    if is_current(connection):
        return
    config = _make_config()
    config.attributes[CONNECTION] = connection
    with _alembic_lock:
        command.upgrade(config, "head")


def _script() -> ScriptDirectory:
    return ScriptDirectory.from_config(_make_config())


def _make_config() -> Config:
    """Alembic's own settings; there is no alembic.ini."""
    config = Config()
    # A % would begin an interpolation.
    folder = str(files("headrace.control.store") / "migrations").replace("%", "%%")
    config.set_main_option("script_location", folder)
    return config
