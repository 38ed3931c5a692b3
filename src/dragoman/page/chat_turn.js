// One question and its answer as it comes: the events of `POST /api/chat`, read into two messages.
import { events, openStream, Trouble } from "./api.js";

const BUSY_AGAIN_MS = [400, 800, 1500, 3000, 5000];
export const ASKING = "asking", ANSWERING = "answering";

/** The two messages of a turn before the gateway has named them; the question is null when one is answered again. */
export function localMessages({ parent, content, shown, model }) {
  const question = content === undefined ? null : { id: ASKING, parent, role: "user", state: "complete", ...shown };
  const answer = { id: ANSWERING, parent: question ? ASKING : parent, role: "assistant", content: "", parts: [] };
  return { question, answer: { ...answer, state: "pending", isStreaming: true, model } };
}

/** What the gateway is to be sent for this text and these pictures, and how the question looks meanwhile. */
export function contentOf(text, pictures) {
  const parts = pictures.map((url) => ({ type: "image", url }));
  const images = pictures.map((url) => ({ type: "image_url", image_url: { url } }));
  const said = text.trim() ? [{ type: "text", text }] : [];
  return { content: pictures.length ? [...images, ...said] : text, shown: { content: text, parts } };
}

/** Ask, and call `took(event)` for each event. Throws Trouble: kind "cut" when the answer has no end. */
export async function listen(body, signal, { took, waits }) {
  const response = await patiently(body, signal, waits);
  let isOver = false;
  for await (const { data } of events(response)) {
    if (!data) continue;
    const event = JSON.parse(data);
    isOver ||= event.type === "end" || event.type === "error";
    took(event);
  }
  if (!isOver) throw new Trouble("The connection was cut in mid-answer.", { kind: "cut" });
}

/** A conversation has one turn at a time: another one's end is waited for. */
async function patiently(body, signal, waits) {
  for (const pause of [...BUSY_AGAIN_MS, null]) {
    try {
      return await openStream("/api/chat", { body, signal });
    } catch (error) {
      if (error.status !== 409 || pause === null) throw error;
      waits();
      await rest(pause, signal);
    }
  }
  return null;
}

function rest(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}

/** Add what an event says to the answer. */
export function extend(answer, event) {
  if (event.type === "delta") answer.content += event.text;
  else if (event.type === "thinking") thought(answer).text += event.text;
  else if (event.type === "tool_call") {
    const { index, id, name } = event;
    answer.parts.push({ type: "tool_use", index, id, name, arguments: "" });
  } else if (event.type === "tool_arguments") {
    const use = answer.parts.find((part) => part.type === "tool_use" && part.index === event.index);
    if (use) use.arguments += event.json;
  } else if (event.type === "end") Object.assign(answer, { state: "complete", usage: event.usage });
}

function thought(answer) {
  let part = answer.parts.find(({ type }) => type === "think");
  if (!part) answer.parts.push(part = { type: "think", text: "" });
  return part;
}
