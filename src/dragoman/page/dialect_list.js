/* The ways into the gateway: what is sent for a question, and which reading its answer takes. */
import * as read from "./frames.js";

const get = (path, headers = {}) => ({ kind: "http", method: "GET", path, headers });
const post = (path, headers, body, kit) =>
  ({ kind: "http", method: "POST", path, headers: { "content-type": "application/json", ...headers }, body, kit });
const bearer = (key) => ({ authorization: `Bearer ${key}` });
const user = (text) => [{ role: "user", content: text }];
const filled = (entries) => Object.fromEntries(Object.entries(entries).filter(([, value]) => value));
const query = (values) => new URLSearchParams(values).toString().replaceAll("+", "%20");
const place = ({ conversation, parent }) => filled({ conversation_id: conversation, parent_id: parent });
const asked = ({ text, model, ...ids }) => ({ content: text, ...place(ids), ...filled({ model }) });

const CHAT = `syntax = "proto3";
package chat;
service Chat { rpc Ask(askrequest) returns (stream askresponse); }
message askrequest { string prompt = 1; string conversation_id = 2; string parent_id = 3; }
message askresponse { string response = 1; }
`;
const DRAGOMAN = `syntax = "proto3";
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
const call = ({ host, listeners }, interfaceOf, message) =>
  ({ kind: "grpc", target: `${host}:${listeners.grpc}`, isSecure: listeners.is_secure, message, ...interfaceOf });

/**
 * Every way in, by whose it is. `request({text, model, conversation, parent, key, origin, host, listeners, boxes})` is
 * what is sent; `boxes` are inputs of its own; `needs` is a listener; `refused` is why, by status.
 */
export const systems = {
  Standards: [
    { id: "openai", title: "OpenAI chat completions", read: read.openai,
      about: "What most clients speak. A stream of chunks, then [DONE].",
      request: ({ text, model, key }) => post("/v1/chat/completions", bearer(key), {
        model, messages: user(text), stream: true, stream_options: { include_usage: true },
      }, "openai") },
    { id: "anthropic", title: "Anthropic messages", read: read.anthropic,
      about: "A stream of typed events, the last is message_stop.",
      request: ({ text, model, key }) => post("/v1/messages", { "x-api-key": key, "anthropic-version": "2023-06-01" }, {
        model, max_tokens: 1024, messages: user(text), stream: true,
      }, "anthropic") },
  ],
  "Dragoman’s own": [
    { id: "api-chat", title: "Conversations over HTTP", read: read.typed,
      about: "Typed events in a conversation that the gateway keeps. This page’s own chat speaks it.",
      request: ({ key, ...context }) => post("/api/chat", bearer(key), asked(context)) },
    { id: "events-ws", title: "Conversations over WebSocket", read: read.typed,
      about: "JSON messages, up to 32 answers at once on one socket.",
      request: ({ key, origin, ...context }) => ({
        kind: "socket", url: `${origin.replace(/^http/, "ws")}/v1/ws?${query({ key })}`,
        frame: JSON.stringify({ type: "ask", id: "q1", ...asked(context) }), last: '^{"type": ?"(end|error)"',
      }) },
    { id: "grpc-own", title: "Conversations over gRPC", needs: "grpc",
      about: "dragoman.v1.Chat: the same events with types; what goes wrong is the call’s status.",
      request: (context) => call(context, {
        file: "dragoman.proto", proto: DRAGOMAN, service: "dragoman.v1.Chat", type: "AskRequest",
      }, { id: "q1", ...asked(context) }) },
  ],
  "go-gpt-server (A)": [
    { id: "event", title: "/event: test of streams", read: read.eventTest,
      about: "sse of the sample page: two messages two seconds apart, then “close”. It takes no key.",
      request: () => get("/event?appId=1&page=4&pageSize=5") },
    { id: "chat-events", title: "/chat as events", read: read.openai,
      about: "chatGpt of the sample page: OpenAI’s chunks, safe for old event-stream clients.",
      request: ({ text, model, key }) => post("/chat", { authorization: key, accept: "text/event-stream" }, {
        model: model || "gpt-3.5-turbo", stream: true, messages: user(text),
      }) },
    { id: "conv-list", title: "/conv: list conversations", read: read.list,
      about: "getConvs of the sample page: the latest conversation.",
      request: ({ key }) => get("/conv?offset=0&limit=1", { authorization: key, "chat-type": "conversations" }) },
    { id: "conv-read", title: "/conv: read a conversation", read: read.one,
      about: "getConv of the sample page: the title and the current message of the conversation with the id.",
      refused: { 400: "Is there a conversation’s id? The list above gives one." },
      request: ({ key, conversation: id }) => get("/conv", { authorization: key, "chat-type": `conversation/${id}` }) },
    { id: "conv-ask", title: "/conv: ask in a conversation", read: read.cumulative,
      about: "startConv of the sample page: every event has the whole text so far.",
      request: ({ text, key, conversation, parent }) => post("/conv", {
        authorization: key, "chat-type": "conversation", accept: "text/event-stream",
      }, { content: text, parent_message_id: parent, conversation_id: conversation }) },
    { id: "token", title: "/token", read: read.token, about: "A signed token for whoever shows SECRET_KEY.",
      boxes: { id: { value: "1000" }, hour: { value: "10" }, SECRET_KEY: { type: "password" } },
      refused: { 403: "Either this is not the gateway’s SECRET_KEY, or it has none: set [compat] secret_key." },
      request: ({ boxes: { id, hour, SECRET_KEY: key } }) => get(`/token?${query({ id, hour, key })}`) },
  ],
  "chatgpt-server (B)": [
    { id: "getinfo", title: "getInfo: ask", read: read.info,
      about: "Mode 1: a whole answer in an envelope, the key in the body. A success is 201 outside and 200 inside.",
      request: ({ text, key, parent }) => post("/api/v1/gpt/getInfo", {}, {
        mode: "1", type: "1",
        opts: { key, content: text, isFollow: parent !== "", ...filled({ parentMessageId: parent }) },
      }) },
    { id: "login", title: "token/getInfo: log in", read: read.token,
      about: "A token for the name, or the e-mail address, and the password of a local account.",
      boxes: { email: {}, password: { type: "password" } },
      refused: { 500: "Name and password fit no account here: dragoman user add NAME makes one." },
      request: ({ boxes }) => post("/api/v1/token/getInfo", {}, { type: "1", ...boxes }) },
  ],
  "chatgpt-easy-backend (C)": [
    { id: "ask", title: "/ask/{conversation}", read: read.ask, about: "One question, one whole answer.",
      request: ({ text, key, conversation, parent }) => post(`/ask/${encodeURIComponent(conversation || "new")}`,
        bearer(key), { prompt: text, ...place({ parent }) }) },
    { id: "websocket", title: "Text over WebSocket", needs: "websocket", read: read.marks,
      about: "Frames of text on a port of its own, the last is <|end|>$conversation$parent.",
      request: ({ text, key, conversation, parent, listeners, host }) => ({
        kind: "socket",
        url: `${listeners.is_secure ? "wss" : "ws"}://${host}:${listeners.websocket}/?${query({ key })}`,
        frame: `<|ask|>$${conversation || "new"}$${parent}$${text}`, last: "^<\\|(end|err)\\|>",
      }) },
    { id: "grpc", title: "chat.Chat over gRPC", needs: "grpc",
      about: "The text in pieces, the last is <|end|>$conversation$parent; a failure is <|err|> with status OK.",
      request: (context) => call(context, {
        file: "chat.proto", proto: CHAT, service: "chat.Chat", type: "askrequest",
      }, { prompt: context.text, ...place(context) }) },
  ],
  "openai-api-server (D)": [
    { id: "chat-lines", title: "/chat as lines", read: read.lines,
      about: "JSON, one object a line. Errors are lines too, with status 200.",
      request: ({ text, model, key }) => post("/chat", { authorization: key, accept: "application/x-ndjson" }, {
        model: model || "gpt-3.5-turbo", messages: user(text),
      }) },
  ],
  "ChatGPT-web back end": [
    { id: "backend-api", title: "/backend-api/conversation", read: read.cumulative,
      about: "What the web client’s back end speaks: every event has the whole text so far.",
      request: ({ text, model, key, conversation, parent }) => post("/backend-api/conversation", bearer(key), {
        action: "next", messages: [{ author: { role: "user" }, content: { content_type: "text", parts: [text] } }],
        ...filled({ parent_message_id: parent, conversation_id: conversation, model }),
      }) },
  ],
};

/** Refusals in plain words; those that the gateway has for other statuses say enough. */
export const MEANINGS = {
  401: "The key was not accepted: it is wrong, disabled or has expired.", 402: "The key’s budget is spent.",
  403: "The key was not accepted, or may not use this.",
  404: "There is no such path, model or conversation for this key, or this way in is switched off.",
  409: "A turn of this conversation is under way: try again when it has ended.",
  429: "A limit is reached: try again in a moment.", 502: "The provider failed.",
  503: "No provider can be asked now.", 504: "The provider did not answer in time.",
};
