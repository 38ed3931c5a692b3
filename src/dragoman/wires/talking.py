"""What turns in conversations share, whatever dialect answers them."""

from dragoman.chat import Answer, ChatRequest, Delta, End, Text, TextDelta, fold
from dragoman.faults import Fault, Malformed
from dragoman.intents import Say
from dragoman.legs import Headers
from dragoman.threads import Place, text_of


def question(text: object, field: str) -> tuple[Text]:
    """Check the text of a question. Raises Malformed that names the field."""
    if not isinstance(text, str):
        raise Malformed(f"{field} must be a string.", field=field)
    if not text.strip():
        raise Malformed(f"{field} must not be empty.", field=field)
    return (Text(text),)


class Speaking:
    """A turn whose pieces go out as they come. Dialects add `write`, `fail` and `opening`."""

    streaming = True
    in_band = True
    label = ""
    early = False
    status = 200

    def __init__(self, intent: Say) -> None:
        self.intent = intent
        self._place: Place | None = None

    @property
    def place(self) -> Place:
        if self._place is None:
            raise AssertionError("nothing is written before the question has its place")
        return self._place

    def placed(self, place: Place) -> None:
        self._place = place

    def begun(self) -> None:
        """The question is the store's now."""
        self.intent.parts = ()
        self.intent.template = ChatRequest([])

    def beat(self, place: int = 0) -> list[bytes]:  # noqa: ARG002 - no place for it here
        return []

    def opening(self, headers: Headers) -> Headers:  # noqa: ARG002 - the provider's are not shown
        return []


class Telling(Speaking):
    """A turn that is answered whole: dialects add `whole` and `opening`."""

    streaming = False
    in_band = False

    def __init__(self, intent: Say) -> None:
        super().__init__(intent)
        self._deltas: list[Delta] = []

    def write(self, deltas: list[Delta]) -> list[bytes]:
        self._deltas += deltas
        return [self.whole(fold(self._deltas))] if isinstance(deltas[-1], End) else []

    def whole(self, answer: Answer) -> bytes:
        raise NotImplementedError

    def fail(self, fault: Fault) -> list[bytes]:  # noqa: ARG002 - nothing has gone out that could be ended
        return []


def said_in(deltas: list[Delta]) -> str:
    """Join the text of what came together."""
    return "".join(delta.text for delta in deltas if type(delta) is TextDelta)


def answer_text(answer: Answer) -> str:
    return text_of(answer.parts)
