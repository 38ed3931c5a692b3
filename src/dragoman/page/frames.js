/* Answers of the dialects: cut into frames as they come, and read. */

const NO_FRAMES = { ids: {}, usage: {}, text: "", thinking: "", ended: "", error: "", token: "" };

// Events with the blank line behind each (a comment counts as soon as its line is there), and JSON, one a line.
const FRAMES = {
  "text/event-stream": /:[^\n]*\n(?:\r?\n)?|[^]*?\n\r?\n/gy,
  "application/x-ndjson": /[^\n]*\n/gy,
};

/** Cut what has come of a body into [frames that are whole, the rest]. A body of another type is one frame. */
export function cut(text, contentType) {
  const pattern = FRAMES[contentType.split(";")[0]];
  const frames = (pattern && text.match(pattern)) ?? [];
  return [frames, text.slice(frames.join("").length)];
}

/** What the frames so far say, with one more: `text` goes on, `whole` is all of it so far. */
export function extended(reading = NO_FRAMES, { text, whole, thinking, ids, usage, ended, error, token } = {}) {
  return {
    text: whole ?? reading.text + (text || ""),
    thinking: reading.thinking + (thinking || ""),
    ids: { ...reading.ids, ...ids },
    usage: { ...reading.usage, ...usage },
    ended: ended || reading.ended,
    error: error || reading.error,
    token: token || reading.token,
  };
}

/** The data of a server-sent event; any other frame is data itself. */
function dataOf(frame) {
  const lines = frame.split(/\r?\n/).filter((line) => line.startsWith("data:"));
  return lines.length ? lines.map((line) => line.replace(/^data: ?/, "")).join("\n") : frame;
}

/** The JSON of a frame; without any, an object that has nothing. */
function treeOf(frame) {
  try {
    return JSON.parse(dataOf(frame)) ?? {};
  } catch {
    return {};
  }
}

/** What went wrong, in the words of a frame of any of the dialects; the frame itself if it has none. */
export function wordsOf(frame) {
  const { error, errorMessage, message, detail, content } = treeOf(frame);
  const rows = Array.isArray(detail) ? detail.map(({ loc, msg }) => `${loc?.join(".")}: ${msg}`).join("; ") : detail;
  const words = [error?.message, errorMessage, message, rows, error, content];
  return words.find((one) => one && typeof one === "string") ?? frame.trim().slice(0, 500);
}

const json = (read) => (frame) => {
  if (dataOf(frame) === "[DONE]") return { ended: "[DONE]" };
  const tree = treeOf(frame);
  const isError = tree.error || tree.type === "error" || tree.success === false;
  return { ...read(tree), error: isError && wordsOf(frame) };
};
const body = (read) => json((tree) => ({ ended: "the whole answer", ...read(tree) }));

// --- how each dialect is read: frame → what it adds ---

export const openai = json(({ choices, usage }) => {
  const delta = choices?.[0]?.delta;
  return { text: delta?.content, thinking: delta?.reasoning_content, usage };
});
export const anthropic = json(({ type, delta, message, usage }) => ({
  text: delta?.text, thinking: delta?.thinking, usage: message?.usage ?? usage, ended: type === "message_stop" && type,
}));
export const lines = json(({ done, error, content }) => ({
  text: done || error ? "" : content, ended: done && "the line with “done”",
}));
export const cumulative = json(({ message, conversation_id: conversation }) =>
  (message ? { whole: message.content.parts[0], ids: { conversation, parent: message.id } } : {}));
const TYPED = {
  begin: ({ conversation_id: conversation, message_id: parent }) => ({ ids: { conversation, parent } }),
  delta: ({ text }) => ({ text }),
  thinking: ({ text }) => ({ thinking: text }),
  end: ({ reason, usage }) => ({ usage, ended: `the end, for the reason “${reason}”,` }),
};
export const typed = json((tree) => TYPED[tree.type]?.(tree));
export function marks(frame) {
  const [mark, conversation, parent] = frame.split("$");
  if (mark === "<|end|>") return { ids: { conversation, parent }, ended: mark };
  const isError = frame.startsWith("<|err|>");
  return isError ? { error: frame.slice(8) || "The mark for an error came, without words." } : { text: frame };
}
export const eventTest = (frame) =>
  (/^event: *close/m.test(frame) ? { ended: "the event “close”" } : { text: `${dataOf(frame)}\n` });
export const ask = body(({ message, conversation_id: conversation, parent_id: parent }) =>
  ({ text: message, ids: { conversation, parent } }));
export const info = body(({ data }) =>
  ({ text: data?.text, ids: { conversation: "", parent: data?.id }, usage: data?.detail?.usage }));
export const token = body(({ token: minted, data }) =>
  ({ token: minted ?? data, text: "Here is a token. It is a key everywhere." }));
export const list = body(({ total, items: [first] }) => ({
  text: `${total} in all. ${first ? `The first is “${first.title}”.` : ""}`,
  ids: { conversation: first?.id, parent: "" },
}));
export const one = body(({ title, update_time: changed, current_node: parent }) =>
  ({ text: `“${title}”, changed ${new Date(changed * 1000).toLocaleString()}.`, ids: { parent } }));

const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]/gu;
const SIGNS = { "\n": "↵\n", "\r": "\\r", "\t": "\\t" };

/** Show what a text would hide: control characters, marks of direction, halves of surrogates. */
export const visible = (text) =>
  text.replace(HIDDEN, (found) => SIGNS[found] ?? `\\u{${found.codePointAt(0).toString(16)}}`);
