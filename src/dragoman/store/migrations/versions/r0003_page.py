"""What the page needs: which request made an answer, and which links were used."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add a column and a table; answers of before have no request."""
    op.add_column("nodes", sa.Column("request", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "used_links",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("until", sa.Double, nullable=False),
    )
