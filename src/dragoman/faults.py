"""Everything that can go wrong, once, with the policy that follows from it.

A fault says who is to blame (`blame`), what the caller is told (`code`, `status`, `message`),
whether another attempt makes sense (`retry`) and what is rested (`bench`). The engine reads
these attributes and never the text. `message` may be shown to the caller; `detail` is for the
operator's log only and may hold what a provider said.

A caller who left is not a fault but an outcome (see `dragoman.ports.Outcome`).
"""

from typing import ClassVar, Literal

from dragoman.standing import Standing

Blame = Literal["caller", "upstream", "gateway"]
Retry = Literal["never", "target", "credential"]
Bench = Literal["nothing", "credential", "target"]


class Fault(Exception):  # noqa: N818 - a fault is the domain's word; some are not errors of ours
    """Base of the family. Raise a leaf, never this.

    Args:
        message: one sentence for the caller, without secrets.
        field: the request field at fault, in the caller's own notation.
        detail: for the operator only.
        retry_after_s: when a new try may work, in seconds.
        kind: the provider's own error code where it is worth passing on.
        status: instead of the leaf's own.

    """

    code: ClassVar[str] = "internal"
    status: int = 500
    blame: ClassVar[Blame] = "gateway"
    retry: ClassVar[Retry] = "never"
    bench: ClassVar[Bench] = "nothing"
    standing: Standing | None = None
    """Where the caller stands with its limits, when they are why."""

    def __init__(
        self,
        message: str = "",
        *,
        field: str | None = None,
        detail: str = "",
        retry_after_s: float | None = None,
        kind: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message or (self.__doc__ or "").strip().splitlines()[0]
        self.field = field
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.kind = kind
        if status is not None:
            self.status = status


class CallerFault(Fault):
    blame = "caller"
    status = 400


class Malformed(CallerFault):
    """The request is not what this interface accepts."""

    code = "malformed"


class Unauthenticated(CallerFault):
    """No valid key was given."""

    code = "unauthenticated"
    status = 401


class Forbidden(CallerFault):
    """This key may not do that."""

    code = "forbidden"
    status = 403


class NotFound(CallerFault):
    """There is no such thing here."""

    code = "not_found"
    status = 404


class UnknownModel(NotFound):
    """No model of that name is served here."""

    code = "model_not_found"


class WrongMethod(CallerFault):
    """This path does not take that method."""

    code = "method_not_allowed"
    status = 405


class Conflict(CallerFault):
    """Another turn of this conversation is under way."""

    code = "conflict"
    status = 409


class Cancelled(CallerFault):
    """The caller asked for this answer to be stopped."""

    code = "cancelled"
    status = 499


class TooMany(CallerFault):
    """There were too many requests; try again later."""

    code = "rate_limited"
    status = 429


class OverBudget(CallerFault):
    """There is no money left for this in the budget."""

    code = "budget_exceeded"
    status = 402


class TooSlow(CallerFault):
    """The request did not arrive in time."""

    code = "request_timeout"
    status = 408


class TooLarge(CallerFault):
    """The request is larger than this gateway accepts."""

    code = "too_large"
    status = 413


class Unsupported(CallerFault):
    """The chosen model cannot do what was asked."""

    code = "unsupported"
    status = 400


class Refused(CallerFault):
    """The provider says that the request is wrong. `status` is the provider's own 4xx."""

    code = "refused"


class UpstreamFault(Fault):
    blame = "upstream"
    status = 502
    retry: ClassVar[Retry] = "target"


class ConnectFailed(UpstreamFault):
    """The provider could not be reached."""

    code = "upstream_unreachable"
    bench = "target"


class Silent(UpstreamFault):
    """The provider did not answer in time."""

    code = "upstream_timeout"
    status = 504
    bench = "target"


class Busy(UpstreamFault):
    """The provider is limiting or shedding requests."""

    code = "upstream_busy"
    status = 429
    retry = "credential"
    bench = "credential"


class KeyRejected(UpstreamFault):
    """The provider does not accept the gateway's credential."""

    code = "upstream_credential"
    retry = "credential"
    bench = "credential"


class Broken(UpstreamFault):
    """The provider failed or answered nonsense."""

    code = "upstream_error"
    bench = "target"


class Truncated(UpstreamFault):
    """The provider's answer stopped before its end."""

    code = "upstream_truncated"
    bench = "target"


class Exhausted(UpstreamFault):
    """The answer ran longer than this gateway allows."""

    code = "answer_too_long"
    retry = "never"


class NoTarget(Fault):
    """No provider can take this request now."""

    code = "no_target"
    status = 503


class Overloaded(Fault):
    """The gateway has no room for this request now."""

    code = "overloaded"
    status = 503


class JournalFull(Fault):
    """The gateway cannot write down what calls use, so it takes none."""

    code = "journal_full"
    status = 503


class StoreFailed(Fault):
    """The gateway's database cannot be used now."""

    code = "store_failed"
    status = 503


class Draining(Fault):
    """The gateway is shutting down."""

    code = "draining"
    status = 503


class SlowReader(Fault):
    """The caller stopped reading its answer."""

    code = "slow_reader"
    blame = "caller"
    status = 408


class Internal(Fault):
    """The gateway failed. The operator's log has the details."""

    code = "internal"


class Misconfigured(Exception):  # noqa: N818 - raised before a listener is up, never sent to anybody
    """The configuration is wrong; the text names the origin (file and line or variable) and the key."""
