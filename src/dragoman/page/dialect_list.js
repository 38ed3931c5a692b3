/* The ways into the gateway: what is asked of each, and which reading its answer takes. */

import * as read from "./frames.js";

const JSON_TYPE = { "content-type": "application/json" };

function post(path, headers, body, sdk) {
  return { kind: "http", method: "POST", path, headers: { ...JSON_TYPE, ...headers }, body, sdk };
}

const get = (path, headers = {}) => ({ kind: "http", method: "GET", path, headers });
const bearer = (key) => ({ authorization: `Bearer ${key}` });
const user = (text) => [{ role: "user", content: text }];
const filled = (entries) => Object.fromEntries(Object.entries(entries).filter(([, value]) => value));
const query = (values) => new URLSearchParams(values).toString().replaceAll("+", "%20");

const PARENT_ID = { name: "parent", label: "Parent message id", hint: "the latest" };
const IDS = [{ name: "conversation", label: "Conversation id", hint: "a new one" }, PARENT_ID];
const PARENT = [{ ...PARENT_ID, hint: "a new conversation" }];
const A = "go-gpt-server (A)";
const B = "chatgpt-server (B)";
const C = "chatgpt-easy-backend (C)";
const OWN = "Dragoman’s own";
const KEY_REFUSED = "The key was not accepted. This dialect says so with 403 and nothing else.";

const PROTO = `syntax = "proto3";
package chat;
service Chat { rpc Ask(askrequest) returns (stream askresponse); }
message askrequest { string prompt = 1; string conversation_id = 2; string parent_id = 3; }
message askresponse { string response = 1; }
`;
const PROTO_V1 = `syntax = "proto3";
package dragoman.v1;
service Chat { rpc Ask(AskRequest) returns (stream Event); }
message AskRequest {
  string id = 1; string content = 2; string conversation_id = 3; string parent_id = 4; string model = 5;
}
message Event {
  string id = 1;
  oneof event { Begin begin = 2; Delta delta = 3; Delta thinking = 4; End end = 5; Error error = 6; }
}
message Begin { string conversation_id = 1; string question_id = 2; string message_id = 3; string model = 4; }
message Delta { string text = 1; }
message End { string reason = 1; Usage usage = 2; }
message Usage { int64 prompt_tokens = 1; int64 completion_tokens = 2; bool estimated = 3; }
message Error { string code = 1; string message = 2; string field = 3; }
`;

function grpc(proto, service, type, message, { listeners, host, key }) {
  const target = `${host}:${listeners.grpc}`;
  const file = service === "chat.Chat" ? "chat.proto" : "dragoman.proto";
  return { kind: "grpc", target, file, proto, service, type, message, key, isSecure: listeners.is_secure };
}

const standards = [
  {
    id: "openai", title: "OpenAI chat completions", system: "Standards",
    about: "What most clients speak. A stream of chunks, then [DONE].",
    request: ({ text, model, key }) => post("/v1/chat/completions", bearer(key), {
      model, messages: user(text), stream: true, stream_options: { include_usage: true },
    }, "openai"),
    cut: read.cutEvents, read: read.readOpenai,
  },
  {
    id: "anthropic", title: "Anthropic messages", system: "Standards",
    about: "A stream of typed events, the last is message_stop.",
    request: ({ text, model, key }) => post("/v1/messages", { "x-api-key": key, "anthropic-version": "2023-06-01" }, {
      model, max_tokens: 1024, messages: user(text), stream: true,
    }, "anthropic"),
    cut: read.cutEvents, read: read.readAnthropic,
  },
];

const own = [
  {
    id: "api-chat", title: "Conversations over HTTP", system: OWN, boxes: IDS,
    about: "Typed events in a conversation that the gateway keeps. This page’s own chat speaks it.",
    request: ({ text, model, key, boxes }) => post("/api/chat", bearer(key), {
      content: text, ...filled({ conversation_id: boxes.conversation, parent_id: boxes.parent, model }),
    }),
    cut: read.cutEvents, read: read.readTyped,
  },
  {
    id: "events-ws", title: "Conversations over WebSocket", system: OWN, boxes: IDS,
    about: "JSON messages, up to 32 answers at once on one socket.",
    request: ({ text, model, key, boxes, origin }) => ({
      kind: "socket", url: `${origin.replace(/^http/, "ws")}/v1/ws?${query({ key })}`,
      frame: JSON.stringify({
        type: "ask", id: "q1", content: text,
        ...filled({ conversation_id: boxes.conversation, parent_id: boxes.parent, model }),
      }),
      last: {
        imports: ["import json", ""],
        python: 'json.loads(frame)["type"] in ("end", "error")',
        javascript: '["end", "error"].includes(JSON.parse(data).type)',
      },
    }),
    read: read.readTyped,
  },
  {
    id: "grpc-own", title: "Conversations over gRPC", system: OWN, needs: "grpc", boxes: IDS,
    about: "dragoman.v1.Chat: the same events with types; what goes wrong is the call’s status.",
    request: (context) => grpc(PROTO_V1, "dragoman.v1.Chat", "AskRequest", {
      id: "q1", content: context.text, ...filled({
        conversation_id: context.boxes.conversation, parent_id: context.boxes.parent, model: context.model,
      }),
    }, context),
  },
];

const systemA = [
  {
    id: "event", title: "/event: test of streams", system: A,
    about: "sse of the sample page: two messages two seconds apart, then “close”. It takes no key.",
    boxes: [["appId", "1"], ["page", "4"], ["pageSize", "5"]].map(([name, value]) => ({ name, label: name, value })),
    request: ({ boxes }) => get(`/event?${query(boxes)}`),
    cut: read.cutEvents, read: read.readEventTest,
  },
  {
    id: "chat-events", title: "/chat as events", system: A, explain: { 403: KEY_REFUSED },
    about: "chatGpt of the sample page: OpenAI’s chunks, safe for old event-stream clients.",
    request: ({ text, model, key }) => post("/chat", { authorization: key, accept: "text/event-stream" }, {
      model: model || "gpt-3.5-turbo", stream: true, messages: user(text),
    }),
    cut: read.cutEvents, read: read.readOpenai,
  },
  {
    id: "conv-list", title: "/conv: list conversations", system: A, family: "conv", explain: { 403: KEY_REFUSED },
    about: "getConvs of the sample page: the latest conversation.",
    request: ({ key }) => get("/conv?offset=0&limit=1", { authorization: key, "chat-type": "conversations" }),
    cut: read.cutNothing, read: read.readList,
  },
  {
    id: "conv-read", title: "/conv: read a conversation", system: A, family: "conv", explain: {
      400: "Is there a conversation’s id? The list above gives one.", 403: KEY_REFUSED,
    },
    about: "getConv of the sample page: its title and its current message.",
    boxes: [{ name: "conversation", label: "Conversation id" }],
    request: ({ key, boxes }) =>
      get("/conv", { authorization: key, "chat-type": `conversation/${boxes.conversation}` }),
    cut: read.cutNothing, read: read.readOne,
  },
  {
    id: "conv-ask", title: "/conv: ask in a conversation", system: A, family: "conv", boxes: IDS,
    about: "startConv of the sample page: every event has the whole text so far.", explain: { 403: KEY_REFUSED },
    request: ({ text, key, boxes }) => post("/conv", {
      authorization: key, "chat-type": "conversation", accept: "text/event-stream",
    }, { content: text, parent_message_id: boxes.parent, conversation_id: boxes.conversation }),
    cut: read.cutEvents, read: read.readCumulative,
  },
  {
    id: "token", title: "/token", system: A, about: "A signed token for whoever shows SECRET_KEY.",
    boxes: [
      { name: "id", label: "id (owner)", value: "1000" }, { name: "hour", label: "hours", value: "10" },
      { name: "secret", label: "SECRET_KEY", isSecret: true },
    ],
    explain: { 403: "Either this is not the gateway’s SECRET_KEY, or it has none: set [compat] secret_key." },
    request: ({ boxes }) => get(`/token?${query({ id: boxes.id, hour: boxes.hour, key: boxes.secret })}`),
    cut: read.cutNothing, read: read.readToken,
  },
];

const systemB = [
  {
    id: "getinfo", title: "getInfo: ask", system: B, boxes: PARENT,
    about: "Mode 1: a whole answer in an envelope, the key in the body. A success is 201 outside and 200 inside.",
    request: ({ text, key, boxes }) => post("/api/v1/gpt/getInfo", {}, {
      mode: "1", type: "1",
      opts: { key, content: text, isFollow: boxes.parent !== "", ...filled({ parentMessageId: boxes.parent }) },
    }),
    cut: read.cutNothing, read: read.readInfo,
  },
  {
    id: "login", title: "token/getInfo: log in", system: B, about: "A token for a local account’s name and password.",
    boxes: [{ name: "email", label: "Name or e-mail" }, { name: "password", label: "Password", isSecret: true }],
    explain: { 500: "Name and password fit no account here: dragoman user add NAME makes one." },
    request: ({ boxes }) => post("/api/v1/token/getInfo", {}, { type: "1", ...boxes }),
    cut: read.cutNothing, read: read.readToken,
  },
];

const systemC = [
  {
    id: "ask", title: "/ask/{conversation}", system: C, boxes: IDS, about: "One question, one whole answer.",
    request: ({ text, key, boxes }) => post(`/ask/${encodeURIComponent(boxes.conversation || "new")}`, bearer(key), {
      prompt: text, parent_id: boxes.parent || null,
    }),
    cut: read.cutNothing, read: read.readAsk,
  },
  {
    id: "websocket", title: "Text over WebSocket", system: C, needs: "websocket", boxes: IDS,
    about: "Frames of text on a port of its own, the last is <|end|>$conversation$parent.",
    request: ({ text, key, boxes, listeners, host }) => ({
      kind: "socket", url: `${listeners.is_secure ? "wss" : "ws"}://${host}:${listeners.websocket}/?${query({ key })}`,
      frame: `<|ask|>$${boxes.conversation || "new"}$${boxes.parent}$${text}`,
      last: {
        imports: [],
        python: 'frame.startswith(("<|end|>", "<|err|>"))',
        javascript: "/^<\\|(end|err)\\|>/.test(data)",
      },
    }),
    read: read.readMarks,
  },
  {
    id: "grpc", title: "chat.Chat over gRPC", system: C, needs: "grpc", boxes: IDS,
    about: "The text in pieces, the last is <|end|>$conversation$parent; a failure is <|err|> with status OK.",
    request: (context) => grpc(PROTO, "chat.Chat", "askrequest", {
      prompt: context.text,
      ...filled({ conversation_id: context.boxes.conversation, parent_id: context.boxes.parent }),
    }, context),
  },
];

const others = [
  {
    id: "chat-lines", title: "/chat as lines", system: "openai-api-server (D)",
    about: "JSON, one object a line. Errors are lines too, with status 200.",
    request: ({ text, model, key }) => post("/chat", { authorization: key, accept: "application/x-ndjson" }, {
      model: model || "gpt-3.5-turbo", messages: user(text),
    }),
    cut: read.cutLines, read: read.readLines,
  },
  {
    id: "backend-api", title: "/backend-api/conversation", system: "ChatGPT-web back end", boxes: IDS,
    about: "What the web client’s back end speaks: every event has the whole text so far.",
    request: ({ text, model, key, boxes }) => post("/backend-api/conversation", bearer(key), {
      action: "next", messages: [{ author: { role: "user" }, content: { content_type: "text", parts: [text] } }],
      ...filled({ parent_message_id: boxes.parent, conversation_id: boxes.conversation, model }),
    }),
    cut: read.cutEvents, read: read.readCumulative,
  },
];

/**
 * Every way in. `request({text, model, key, origin, host, listeners, boxes})` is what is sent; `needs` is a listener;
 * `family` shares its boxes; `explain` has words for a status.
 */
export const ways = [...standards, ...own, ...systemA, ...systemB, ...systemC, ...others];

/** What a way in sends for what is in the boxes, byte for byte. */
export function requestOf(way, context) {
  const request = way.request(context);
  return { ...request, origin: context.origin, key: context.key, url: request.url ?? context.origin + request.path };
}

const MEANINGS = {
  400: "The request is wrong.", 401: "The key was not accepted: it is wrong, disabled or has expired.",
  402: "The key’s budget is spent.", 403: "This key may not use this.", 405: "This path takes another method.",
  404: "There is no such path, model or conversation for this key, or this way in is switched off.",
  409: "A turn of this conversation is under way: try again when it has ended.", 413: "This is too much at once.",
  422: "The request is wrong.", 429: "A limit is reached: try again in a moment.",
  502: "The provider failed.", 503: "No provider can be asked now.", 504: "The provider did not answer in time.",
};

/** A status in plain words; "" for one that says no more than its number. */
export const meaning = (way, status) => way.explain?.[status] ?? MEANINGS[status] ?? "";
