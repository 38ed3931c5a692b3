// One question and its answer as it comes: the events of `POST /api/chat`, read into two messages.
import { events, openStream, Trouble } from "./api.js";

const BUSY_AGAIN_MS = [400, 800, 1500, 3000, 5000];
const ASKING = "asking", ANSWERING = "answering";

/** Wait; a signal that aborts ends it at once, with its reason. */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}

/** What the gateway is to be sent for this text and these pictures, and how the question looks. */
export function questionOf(text, pictures) {
  const images = pictures.map((url) => ({ type: "image_url", image_url: { url } }));
  const said = text.trim() ? [{ type: "text", text }] : [];
  const parts = pictures.map((url) => ({ type: "image", url }));
  return { content: pictures.length ? [...images, ...said] : text, shown: { content: text, parts } };
}

/** The messages of a turn, the answer last, before the gateway has named them. Without `shown` none is asked anew. */
export function newMessages({ parent, shown }, model) {
  const answer = { id: ANSWERING, role: "assistant", model, content: "", parts: [], state: "pending", wasHeard: true };
  if (!shown) return [{ ...answer, parent }];
  return [{ id: ASKING, parent, role: "user", state: "complete", ...shown }, { ...answer, parent: ASKING }];
}

/** Ask, and call `took(event)` for each event. Throws Trouble: kind "cut" when the answer has no end. */
export async function listen(body, signal, took) {
  const response = await patiently(body, signal, () => took({ type: "wait" }));
  let isOver = false;
  for await (const { data } of events(response)) {
    if (!data) continue;
    const event = JSON.parse(data);
    if (event.type === "error") throw refusalOf(event);
    isOver ||= event.type === "end";
    took(event);
  }
  if (!isOver) throw new Trouble("The connection was cut in mid-answer.", { kind: "cut", advice: "Try again." });
}

function refusalOf({ message, code, retry_after_s: waitS }) {
  return new Trouble(message, { code, advice: waitS ? `Try again in ${Math.ceil(waitS)} s.` : "" });
}

/** A conversation has one turn at a time: another one's end is waited for. */
async function patiently(body, signal, waits) {
  for (const ms of BUSY_AGAIN_MS) {
    try {
      return await openStream("/api/chat", { body, signal });
    } catch (error) {
      if (error.status !== 409) throw error;
      waits();
      await pause(ms, signal);
    }
  }
  return openStream("/api/chat", { body, signal });
}

/** Add what an event says to the messages of its turn. */
export function extend(messages, event) {
  const answer = messages.at(-1);
  const toolUse = () => answer.parts.find((part) => part.type === "tool_use" && part.index === event.index);
  switch (event.type) {
    case "begin": return nameAll(messages, event);
    case "wait": return Object.assign(answer, { waiting: "Waiting for the end of another answer here…" });
    case "delta": return Object.assign(answer, { content: answer.content + event.text });
    case "thinking": return answer.parts.push({ type: "think", text: event.text });
    case "tool_call": return answer.parts.push({ ...event, type: "tool_use", arguments: "" });
    case "tool_arguments": return Object.assign(toolUse(), { arguments: toolUse().arguments + event.json });
    case "end": return Object.assign(answer, { reason: event.reason });
    default: return null;
  }
}

/** The gateway has saved the question: everything has its name. */
function nameAll(messages, { question_id: asked, message_id: id, parent_id: parent, model, request_id }) {
  const [question, answer] = [messages.at(-2), messages.at(-1)];
  if (question) Object.assign(question, { id: asked, parent });
  Object.assign(answer, { id, parent: asked, model, request_id });
}
