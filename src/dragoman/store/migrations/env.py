"""Run by Alembic: migrates on the connection that `dragoman.store.migrate` hands over, inside its transaction."""

from alembic import context

from dragoman.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
