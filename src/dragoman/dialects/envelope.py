"""System B: `POST /api/v1/gpt/getInfo` and `/api/v1/token/getInfo`, answers in an envelope.

Source: seed protocols, section 4. A success of the POST is 201 outside and 200 inside. The key stands in the body;
`parentMessageId` alone carries on a conversation. Nothing in a request chooses a host.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from dragoman.chat import Answer, ChatRequest, Delta, End, Message, Text
from dragoman.faults import Fault, Malformed, NotFound
from dragoman.intents import Login, Say
from dragoman.legs import Head, Headers, Reply
from dragoman.people import Secret
from dragoman.ports import Lookup, Mount, Turn
from dragoman.wires import openai_voice
from dragoman.wires.cors import cors, preflights
from dragoman.wires.events import check
from dragoman.wires.fields import FORM, media_type, read_form, read_object, text_of_query
from dragoman.wires.http_turn import refusal_headers
from dragoman.wires.keyed import Keyed
from dragoman.wires.talking import Telling, answer_text, question

WIRE = "envelope"
FAILED = "获取chatGPT消息异常，请重试："
NO_TOKEN = "获取异常，请重试：could not get token"  # noqa: S105 - a message, not a token
OURS, THEIRS = "服务端错误", "客户端错误"
JSON: Headers = [(b"content-type", b"application/json; charset=utf-8")]
encode = msgspec.json.encode


def good(data: bytes, at: int) -> bytes:
    return b'{"status":200,"success":true,"message":"ok","data":%b,"timestamp":%d}' % (data, at * 1000)


class _Envelope(Keyed):
    """What both ways share: bodies as JSON or forms, refusals in the envelope."""

    late = True

    def tree(self, data: bytes) -> dict[str, Any]:
        """Read the body. What is no JSON at all has no better text in this dialect than whose fault it is."""
        if media_type(self.head.get(b"content-type")) == FORM:
            return read_form(data)
        try:
            return read_object(data)
        except Malformed:
            raise Malformed(THEIRS) from None

    def refuse(self, fault: Fault) -> Reply:
        status, text = self.said(fault)
        path = self.head.path.encode("latin-1", "replace").decode("latin-1")
        query = self.shown_query()
        tree = {
            "status": status,
            "success": False,
            "message": text or (OURS if status >= 500 else THEIRS),
            "data": {},
            "timestamp": self.head.at * 1000,
            "path": f"{path}?{query}" if query else path,
        }
        return Reply(status, [*JSON, *refusal_headers(fault)[1:], *cors(self.head)], encode(tree))

    def shown_query(self) -> str:
        return self.head.query.decode("latin-1")

    def said(self, fault: Fault) -> tuple[int, str]:
        return fault.status, fault.message


# --- chat ----------------------------------------------------------------------------------------


def _is_empty(value: object) -> bool:
    return value is None or value == ""


def problems(tree: dict[str, Any]) -> list[str]:
    """List what is wrong with a request, in the original's words and order."""
    found = []
    if tree.get("mode") not in ("1", "2"):
        found += ["有效值为1或2", *(["模式mode必填"] if _is_empty(tree.get("mode")) else [])]
    if tree.get("type") != "1":
        found += ["有效值为1", *(["类型type必填"] if _is_empty(tree.get("type")) else [])]
    opts = tree.get("opts")
    if _is_empty(opts):
        return [*found, "gpt请求参数opts必填"]
    if not isinstance(opts, dict):
        return [*found, "nested property opts must be either object or array"]
    for name in ("key", "content"):
        if not isinstance(opts.get(name), str) or not opts[name]:
            found.append(f"opts.{name}必填")
    if _is_empty(opts.get("isFollow")):
        found.append("opts.isFollow必填")
    elif opts["isFollow"] and _is_empty(opts.get("parentMessageId")):
        found.append("opts.当isFollow为true时，parentMessageId必填")
    if not isinstance(opts.get("parentMessageId", ""), str | None):
        found.append("opts.parentMessageId must be a string")
    if not isinstance(opts.get("opts", {}), dict | None):
        found.append("nested property opts must be either object or array")
    return found


class _Params(msgspec.Struct):
    """What `opts.opts` may set; everything else in it, hosts and keys above all, is not read."""

    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: str | list[str] | None = None


class GetInfo(_Envelope):
    """One question."""

    def __init__(self, head: Head) -> None:
        super().__init__(head)
        self._key = ""

    def claim(self) -> Secret | None:
        return Secret(self._key) if self._key else None

    def receive(self, data: bytes) -> Turn:
        tree = self.tree(data)
        wrong = problems(tree)
        if wrong:
            raise Malformed(",".join(wrong))
        opts = tree["opts"]
        self._key = opts["key"].removeprefix("Bearer ").strip()
        is_api = tree["mode"] == "1"
        template, model = _settings(opts.get("opts") or {})
        say = Say(
            WIRE,
            question(opts["content"], "opts.content"),
            model=model,
            parent=opts.get("parentMessageId") or "",
            template=template,
        )
        return EnvelopeTurn(say, self.head, is_api=is_api)

    def said(self, fault: Fault) -> tuple[int, str]:
        """What the provider did, or said of the request, is a 500 with a fixed beginning."""
        if fault.blame == "upstream" or fault.code == "refused":
            return 500, FAILED + fault.message
        return fault.status, fault.message


def _settings(more: dict[str, Any]) -> tuple[ChatRequest, str]:
    given = more.get("completionParams")
    try:
        params = msgspec.convert({**more, **(given if isinstance(given, dict) else {})}, _Params)
    except msgspec.ValidationError as error:
        raise Malformed(f"opts.opts: {error}", field="opts.opts") from None
    stop = (params.stop,) if isinstance(params.stop, str) else tuple(params.stop or ())
    system = more.get("systemMessage")
    messages = [Message("system", (Text(system),))] if isinstance(system, str) and system else []
    template = ChatRequest(
        messages,
        max_tokens=params.max_tokens,
        temperature=params.temperature,
        top_p=params.top_p,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        stop=stop,
    )
    check(template)
    return template, params.model or ""


class EnvelopeTurn(Telling):
    """The answer, whole: with the provider's completion in mode 1, with the conversation's id in mode 2."""

    status = 201

    def __init__(self, intent: Say, head: Head, *, is_api: bool) -> None:
        super().__init__(intent)
        self._head = head
        self._is_api = is_api

    def opening(self, headers: Headers) -> Headers:  # noqa: ARG002 - our own are enough
        return [*JSON, *cors(self._head)]

    def write(self, deltas: list[Delta]) -> list[bytes]:
        pieces = super().write(deltas)
        if pieces and isinstance(deltas[-1], End):
            return [good(pieces[0], self._head.at)]
        return pieces

    def whole(self, answer: Answer) -> bytes:
        place = self.place
        said: dict[str, Any] = {"role": "assistant", "id": place.answer, "parentMessageId": place.question}
        if self._is_api:
            detail = msgspec.Raw(openai_voice.write_whole(self._deltas, self._head.at))
            return encode({**said, "text": answer_text(answer), "detail": detail})
        return encode({**said, "conversationId": place.thread.id, "text": answer_text(answer)})


# --- tokens --------------------------------------------------------------------------------------


class TokenByQuery(_Envelope):
    """A login by query string, as the original had it. The password is not echoed: refusals leave the query out."""

    late = False

    def receive(self, data: bytes) -> Lookup:
        return self.login(self.fields(data))

    def fields(self, data: bytes) -> dict[str, Any]:  # noqa: ARG002 - a GET has no body to read
        return dict(text_of_query(self.head.query))

    def login(self, tree: dict[str, Any]) -> Lookup:
        wrong = []
        if tree.get("type") not in ("1", "2"):
            wrong.append("type值只能为1或2,1为获取token，2为刷新token")
            wrong += ["type必填"] if _is_empty(tree.get("type")) else []
        wrong += [
            f"{name}必填" for name in ("email", "password") if not isinstance(tree.get(name), str) or not tree[name]
        ]
        if wrong:
            raise Malformed(",".join(wrong))
        intent = Login(tree["email"], Secret(tree["password"]), refresh=tree["type"] == "2")
        return LoggedIn(intent, self.head)

    def shown_query(self) -> str:
        return ""

    def said(self, fault: Fault) -> tuple[int, str]:
        if fault.code == "unauthenticated" or fault.blame == "upstream":
            return 500, NO_TOKEN
        return fault.status, fault.message


class TokenByBody(TokenByQuery):
    """The same with the password where it belongs: in the body."""

    def fields(self, data: bytes) -> dict[str, Any]:
        return self.tree(data)


class LoggedIn:
    def __init__(self, intent: Login, head: Head) -> None:
        self.intent = intent
        self._head = head

    def answer(self, found: Any) -> Reply:
        return Reply(200, [*JSON, *cors(self._head)], good(encode(found), self._head.at))


class Nowhere(_Envelope):
    """A path of this system that nobody serves."""

    late = False

    def claim(self) -> Secret | None:
        raise NotFound(THEIRS)

    def receive(self, data: bytes) -> Turn | None:  # noqa: ARG002 - it never comes to that
        return None


_TOKEN = "/api/v1/token/getInfo"  # noqa: S105 - a path
_WAYS: tuple[tuple[str, Callable[[Head], TokenByQuery]], ...] = (("GET", TokenByQuery), ("POST", TokenByBody))

mounts: tuple[Mount, ...] = (
    Mount("POST", "/api/v1/gpt/getInfo", GetInfo, own_key=True),
    *(Mount(method, _TOKEN, session, public=True) for method, session in _WAYS),
    Mount("*", "/api/v1/*", Nowhere),
    *preflights("/api/v1/gpt/getInfo", _TOKEN),
)
