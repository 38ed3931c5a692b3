"""Conversations, their owners, and accounts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first schema."""
    _threads()
    _nodes()
    op.create_table(
        "owners",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("threads", sa.Integer, nullable=False),
    )
    op.create_table(
        "holdings",
        sa.Column("id", sa.Text, primary_key=True),
        _text("owner"),
    )
    op.create_table(
        "accounts",
        sa.Column("folded_name", sa.Text, primary_key=True),
        _text("name"),
        _text("digest"),
    )


def _threads() -> None:
    op.create_table(
        "threads",
        sa.Column("id", sa.Text, primary_key=True),
        _text("owner"),
        _text("title"),
        _text("folded_title"),
        _text("root"),
        _text("current"),
        _seconds("created"),
        _seconds("updated"),
        _text("run"),
        _text("answering"),
        _text("previous"),
        _seconds("busy_until"),
    )
    is_leased = sa.text("run != ''")
    op.create_index("threads_by_update", "threads", ["owner", "updated", "id"])
    op.create_index("threads_leased", "threads", ["id"], sqlite_where=is_leased, postgresql_where=is_leased)


def _nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("thread", sa.Text, sa.ForeignKey("threads.id", ondelete="CASCADE"), nullable=False),
        _text("parent"),
        sa.Column("depth", sa.Integer, nullable=False),
        _text("role"),
        _text("parts"),
        _seconds("at"),
        _text("state"),
        _text("model"),
    )
    op.create_index("nodes_by_depth", "nodes", ["thread", "depth"])


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _seconds(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=False)
