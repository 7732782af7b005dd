"""Steps from each schema to the next. `env.py` and `versions/` are run by Alembic."""
