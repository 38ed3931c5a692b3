/* Answers of the dialects: cut into frames as they come, and read. */

const WHOLE = "Complete: the whole answer came.";

// --- cutting: (text so far) → [frames that are whole, the rest] ---

function cutBy(pattern) {
  return (text) => {
    const frames = text.match(pattern) ?? [];
    return [frames, text.slice(frames.reduce((total, frame) => total + frame.length, 0))];
  };
}

/** Server-sent events, with the blank line behind each; a comment counts as soon as its line is there. */
export const cutEvents = cutBy(/:[^\n]*\n(?:\r?\n)?|[^]*?\n\r?\n/gy);
/** JSON, one a line. */
export const cutLines = cutBy(/[^\n]*\n/gy);
/** One body. */
export const cutNothing = (text) => [[], text];

// --- reading: each frame adds to `reading` ---

/** What a request's answer has said so far. `ended` and `error` are sentences; `ids` carry a conversation on. */
export const newReading = () => ({ text: "", thinking: "", ids: {}, usage: null, ended: "", error: "", token: null });

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function dataOf(frame) {
  const lines = frame.split(/\r?\n/).filter((line) => line.startsWith("data:"));
  return lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n");
}

/** What went wrong, in the words of a body of any of the dialects; "" if it has none. */
export function wordsOf(body) {
  const tree = parsed(body) ?? parsed(dataOf(body));
  if (tree === null || typeof tree !== "object") return body.trim().slice(0, 500);
  const rows = Array.isArray(tree.detail) ? tree.detail.map((row) => `${row.loc?.join(".")}: ${row.msg}`) : null;
  const detail = rows?.join("; ") ?? tree.detail;
  const said = tree.error?.message ?? tree.errorMessage ?? tree.message ?? detail ?? tree.error;
  return typeof said === "string" ? said : "";
}

export function readOpenai(reading, frame) {
  const data = dataOf(frame);
  const tree = parsed(data);
  if (data === "[DONE]") reading.ended = "Complete: [DONE] came.";
  else if (tree?.error) reading.error = wordsOf(data);
  reading.text += tree?.choices?.[0]?.delta?.content ?? "";
  reading.thinking += tree?.choices?.[0]?.delta?.reasoning_content ?? "";
  reading.usage = tree?.usage ?? reading.usage;
}

export function readAnthropic(reading, frame) {
  const tree = parsed(dataOf(frame));
  if (tree?.type === "message_stop") reading.ended = "Complete: message_stop came.";
  else if (tree?.type === "error") reading.error = wordsOf(dataOf(frame));
  reading.text += tree?.delta?.text ?? "";
  reading.thinking += tree?.delta?.thinking ?? "";
  const usage = tree?.message?.usage ?? tree?.usage;
  if (usage) reading.usage = { ...reading.usage, ...usage };
}

export function readLines(reading, frame) {
  const tree = parsed(frame);
  if (tree?.error) reading.error = tree.content;
  else if (tree?.done) reading.ended = "Complete: the line with done came.";
  else reading.text += tree?.content ?? "";
}

export function readCumulative(reading, frame) {
  const data = dataOf(frame);
  const tree = parsed(data);
  if (data === "[DONE]") reading.ended = "Complete: [DONE] came.";
  if (tree?.error) reading.error = wordsOf(data);
  if (!tree?.message) return;
  reading.text = tree.message.content.parts[0];
  reading.ids = { conversation: tree.conversation_id, parent: tree.message.id };
}

export function readTyped(reading, frame) {
  const tree = parsed(frame.startsWith("{") ? frame : dataOf(frame));
  if (tree?.type === "begin") reading.ids = { conversation: tree.conversation_id, parent: tree.message_id };
  else if (tree?.type === "delta") reading.text += tree.text;
  else if (tree?.type === "thinking") reading.thinking += tree.text;
  else if (tree?.type === "error") reading.error = `${tree.message} (${tree.code})`;
  else if (tree?.type === "end") {
    reading.usage = tree.usage;
    reading.ended = `Complete: end came, the reason is “${tree.reason}”.`;
  }
}

export function readMarks(reading, frame) {
  if (frame.startsWith("<|err|>")) reading.error = frame.slice(8) || "The mark for an error came, without words.";
  else if (!frame.startsWith("<|end|>$")) reading.text += frame;
  else {
    const [, conversation, parent] = frame.split("$");
    reading.ids = { conversation, parent };
    reading.ended = "Complete: <|end|> came.";
  }
}

export function readEventTest(reading, frame) {
  if (/^event: *close/m.test(frame)) reading.ended = "Complete: the event “close” came.";
  else reading.text += `${dataOf(frame)}\n`;
}

function whole(read) {
  return (reading, frame) => {
    const tree = parsed(frame);
    if (tree === null) reading.error = "The body is no JSON.";
    else {
      reading.ended = WHOLE;
      read(reading, tree, frame);
    }
  };
}

export const readAsk = whole((reading, tree, frame) => {
  if (tree.message === undefined) reading.error = wordsOf(frame);
  reading.text = tree.message ?? "";
  reading.ids = { conversation: tree.conversation_id, parent: tree.parent_id };
});
export const readInfo = whole((reading, tree) => {
  if (!tree.success) reading.error = tree.message;
  reading.text = tree.data?.text ?? "";
  reading.ids = { parent: tree.data?.id };
  reading.usage = tree.data?.detail?.usage ?? null;
});
export const readToken = whole((reading, tree) => {
  reading.token = tree.token ?? (typeof tree.data === "string" ? tree.data : null);
  if (reading.token) reading.text = "Here is a token. It is a key everywhere.";
});
export const readList = whole((reading, tree) => {
  const [first] = tree.items;
  reading.text = `${tree.total} in all. ${first ? `The first is “${first.title}”.` : ""}`;
  reading.ids = { conversation: first?.id };
});
export const readOne = whole((reading, tree) => {
  reading.text = `“${tree.title}”, changed ${new Date(tree.update_time * 1000).toLocaleString()}.`;
  reading.ids = { parent: tree.current_node };
});

const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]/gu;
const SIGNS = { "\n": "↵\n", "\r": "\\r", "\t": "\\t" };

/** Show what a text would hide: control characters, marks of direction, halves of surrogates. */
export const visible = (text) =>
  text.replace(HIDDEN, (found) => SIGNS[found] ?? `\\u{${found.codePointAt(0).toString(16)}}`);
