"""Keys, teams and budgets; calls and the sums of their usage."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_BUCKETS = (
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "audio_in",
    "image_in",
    "output",
    "reasoning",
    "audio_out",
    "image_out",
)


def upgrade() -> None:
    """Add the tables; those of conversations stay as they are."""
    _keys()
    _budgets()
    _calls()
    for name in ("usage_hours", "usage_days", "usage_blocks"):
        _sums(name)
    op.create_index("usage_days_by_principal", "usage_days", ["principal", "slot"])
    op.create_index("usage_blocks_by_principal", "usage_blocks", ["principal", "slot"])
    op.create_table(
        "journals",
        _name("journal"),
        _number("segment"),
        _number("offset"),
    )


def _keys() -> None:
    op.create_table(
        "keys",
        _name("id"),
        sa.Column("holder", sa.Text, nullable=False, unique=True),
        _text("team"),
        _text("maker"),
        _text("data"),
        _number("seq"),
    )
    op.create_index("keys_by_seq", "keys", ["seq"])
    op.create_index("keys_by_team", "keys", ["team", "id"])
    op.create_index("keys_by_maker", "keys", ["maker", "id"])
    op.create_table("teams", _name("name"), _text("data"), _number("seq"))
    op.create_index("teams_by_seq", "teams", ["seq"])
    op.create_table("gone", _name("kind"), _name("name"), _number("seq"))
    op.create_index("gone_by_seq", "gone", ["seq"])
    op.create_table("facts", _name("name"), _text("value"))


def _budgets() -> None:
    op.create_table("spent", _name("account"), _window(), _number("units"))
    op.create_table(
        "shares",
        _name("account"),
        _window(),
        _name("run"),
        _number("held"),
    )
    op.create_index("shares_by_run", "shares", ["run"])
    doubted = sa.Column("doubted", sa.Integer, nullable=False)
    op.create_table("leases", _name("run"), _real("until"), _real("lease_s"), doubted)
    op.create_table("rates", _name("account"), _real("level"), _real("at"))


def _calls() -> None:
    op.create_table(
        "calls",
        _name("id"),
        _real("at"),
        *map(_text, ("principal", "key", "team", "tags", "dialect", "wire", "model", "provider", "target")),
        *map(_text, ("credential", "outcome", "code")),
        sa.Column("status", sa.Integer, nullable=False),
        *map(_number, _BUCKETS),
        _text("tier"),
        sa.Column("estimated", sa.Integer, nullable=False),
        sa.Column("streamed", sa.Integer, nullable=False),
        sa.Column("cost_micro", sa.BigInteger),
        _number("reserved_micro"),
        _number("queued_ms"),
        sa.Column("first_byte_ms", sa.BigInteger),
        _number("total_ms"),
        _text("attempts"),
    )
    op.create_index("calls_by_at", "calls", ["at", "id"])
    op.create_index("calls_by_principal", "calls", ["principal", "at", "id"])
    op.create_table("contents", _name("id"), _real("at"), _text("question"), _text("answer"))
    op.create_index("contents_by_at", "contents", ["at"])


def _sums(name: str) -> None:
    op.create_table(
        name,
        sa.Column("slot", sa.BigInteger, primary_key=True),
        *map(_name, ("principal", "team", "tags", "model", "provider", "target", "dialect")),
        *map(_number, ("calls", "failed", "estimated", "unpriced", *_BUCKETS, "cost_micro")),
        sqlite_with_rowid=False,
    )


def _name(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=True)


def _window() -> sa.Column[int]:
    return sa.Column("window", sa.BigInteger, primary_key=True)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def _real(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=False)
