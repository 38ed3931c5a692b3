// One message of a conversation on the screen: what was said, how it ended, and what can be done with it.
import { button, copyButton, fill, format, h } from "./elements.js";
import { markdownView, markedText } from "./markdown.js";

const PICTURE = /^data:image\/(?:png|jpeg|gif|webp);base64,/;
const ENDINGS = { cancelled: "You stopped this answer.", broken: "This answer broke off. What had arrived is kept." };

/** A view of a message. `actions` are what its buttons do: branch, regenerate, edit and giveResult. */
export function messageView(actions) {
  const view = { node: h("article", { class: "message", tabindex: "-1" }), message: {} };
  view.arrows = h("span", { class: "arrows" });
  view.figures = h("span", { class: "figures quiet" });
  const said = { user: questionPart, assistant: answerPart };
  view.update = (message) => {
    const isNew = !view.show;
    view.message = message;
    view.show ??= (said[message.role] ?? questionPart)(view, actions);
    view.show(message);
    if (isNew) view.node.setAttribute("aria-label", message.role === "user" ? "You" : `Answer of ${message.model ?? "a model"}`);
  };
  view.place = (siblings) => placeAmong(view, siblings, actions);
  return view;
}

function placeAmong(view, siblings, { branch }) {
  const at = siblings.findIndex((other) => other.id === view.message.id);
  if (siblings.length < 2) return fill(view.arrows);
  const arrow = (step, icon, title) => {
    const to = siblings[at + step];
    const node = button("", () => branch(to, step), { icon, kind: "quiet", title, disabled: !to });
    node.dataset.step = step;
    return node;
  };
  const count = h("span", { "aria-label": `Version ${at + 1} of ${siblings.length}` }, `${at + 1} / ${siblings.length}`);
  return fill(view.arrows, arrow(-1, "left", "Earlier version"), count, arrow(1, "right", "Later version"));
}

function picturesOf(message) {
  return (message.parts ?? []).filter((part) => part.type === "image").map((part) => {
    const address = part.data ? `data:${part.media_type};base64,${part.data}` : part.url;
    if (PICTURE.test(address)) return h("img", { src: address, alt: "A picture of this message" });
    // Fetching from elsewhere would tell somebody what is read here, and when.
    return h("span", { class: "tag" }, `Picture: ${address.slice(0, 200) || part.file_id}`);
  });
}

// --- what a person said

function questionPart(view, actions) {
  const body = h("div", { class: "said" });
  const retry = button("", () => actions.regenerate(view.message), { icon: "retry", kind: "quiet", title: "Answer this once more" });
  const edit = button("", () => editing(), { icon: "edit", kind: "quiet", title: "Edit: ask this differently" });
  const copy = copyButton(() => view.message.content, "");
  view.node.classList.add("question");
  view.node.append(body, h("footer", {}, view.arrows, copy, edit, retry));
  const editing = () => fill(body, editForm(view, actions, () => show(view.message)));
  const show = (message) => {
    const results = (message.parts ?? []).filter((part) => part.type === "tool_result");
    const shown = results.map((part) => toolResult(part));
    // As it was written, and nothing else: this is no Markdown.
    fill(body, picturesOf(message), shown, h("div", { class: "plain", dir: "auto" }, markedText(message.content)));
    edit.hidden = results.length > 0;
    retry.hidden = !message.isLast;
  };
  return show;
}

function toolResult(part) {
  const text = (part.parts ?? []).map((piece) => piece.text ?? "").join("");
  return h("details", {}, h("summary", {}, "Result of a tool"), h("pre", { class: "code", tabindex: "0" }, markedText(text)));
}

function editForm(view, actions, restore) {
  const area = h("textarea", { "aria-label": "Edit the question", rows: "4", value: view.message.content });
  const send = () => {
    restore();
    actions.edit(view.message, area.value);
  };
  const leave = () => {
    restore();
    view.node.querySelector("footer button")?.focus();
  };
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
    if (event.key === "Escape") { event.stopPropagation(); leave(); }
  });
  queueMicrotask(() => area.focus());
  const buttons = h("div", { class: "row end" }, button("Cancel", leave), button("Ask", send, { kind: "primary" }));
  return h("div", { class: "column" }, picturesOf(view.message), area, buttons);
}

// --- what a model said

function answerPart(view, actions) {
  const thought = h("div", { class: "plain quiet", dir: "auto" });
  const thinking = h("details", { class: "thinking" }, h("summary", {}, "Thinking…"), thought);
  const text = markdownView();
  const tools = h("div", { class: "column" });
  const ending = h("p", { class: "outcome" });
  const copy = copyButton(() => view.message.content, "");
  const again = () => actions.regenerate(view.message);
  const retry = button("", again, { icon: "retry", kind: "quiet", title: "Regenerate: another answer" });
  const foot = h("footer", {}, view.arrows, copy, retry, view.figures);
  const model = h("h2", { class: "quiet" });
  view.node.append(model, thinking, text.node, tools, ending, foot);
  view.node.classList.add("answer");
  const calls = [];
  let thoughts = null;
  return (message) => {
    const parts = message.parts ?? [];
    const of = (type) => parts.filter((part) => part.type === type);
    const thinks = of("think").map((part) => part.text).join("\n\n");
    if (thinks !== thoughts) fill(thought, markedText(thinks));
    thinking.hidden = !thinks;
    text.update(message.content);
    thoughts = thinks;
    of("tool_use").forEach((part, at) => {
      calls[at] ??= toolCall(view, tools, actions);
      calls[at](part, message.isLast && !message.isStreaming);
    });
    fill(model, markedText(message.model || "Answer"));
    fill(ending, endingOf(message, again));
    view.node.classList.toggle("streaming", Boolean(message.isStreaming));
    foot.hidden = Boolean(message.isStreaming);
  };
}

function endingOf(message, again) {
  const { note, state } = message;
  if (message.isStreaming) return message.content ? [] : [h("span", { class: "quiet" }, message.waiting ?? "Waiting for the first word…")];
  if (state === "pending" && !note) return [h("span", { class: "quiet" }, "This is being answered elsewhere…")];
  const said = note ? `${note.message} ${note.advice ?? ""}` : ENDINGS[state];
  if (!said) return [];
  const isBad = note || state === "broken";
  const retry = isBad ? button("Retry", again, { icon: "retry", kind: "quiet" }) : null;
  return [h("span", { class: isBad ? "tag bad" : "tag" }, note?.kind === "cut" ? "cut" : isBad ? "failed" : "stopped"), " ", said.trim(), retry];
}

/** Show a call below the others; what it returns updates it, and leaves it as folded as it is. */
function toolCall(view, tools, actions) {
  let shown = {};
  const name = h("code"), json = h("pre", { class: "code", tabindex: "0" });
  const area = h("textarea", { placeholder: "What did the tool say?", rows: "2" });
  const give = button("Send the result", () => actions.giveResult(view.message, shown.id, area.value), { kind: "primary" });
  const form = h("div", { class: "row" }, area, give);
  tools.append(h("details", { class: "tool" }, h("summary", {}, "Tool call: ", name), json, form));
  return (part, isOpen) => {
    form.hidden = !isOpen;
    if (part.arguments === shown.arguments && part.id === shown.id) return;
    shown = { ...part };
    fill(name, markedText(part.name));
    fill(json, markedText(pretty(part.arguments)));
    area.setAttribute("aria-label", `The result of ${part.name}`);
  };
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

const sum = (tokens, names) => names.reduce((total, name) => total + (tokens[name] ?? 0), 0);
const INPUTS = ["input", "cache_read", "cache_write", "cache_write_1h", "audio_in", "image_in"];
const OUTPUTS = ["output", "reasoning", "audio_out", "image_out"];

/** Write tokens, cost and time: `usage` as an answer's end says it, `call` as the gateway's record of it. */
export function showFigures(view, usage, call) {
  const counted = usage ?? (call && {
    prompt_tokens: sum(call.tokens, INPUTS), completion_tokens: sum(call.tokens, OUTPUTS), estimated: call.estimated,
  });
  const [before, after] = [format.count(counted?.prompt_tokens), format.count(counted?.completion_tokens)];
  const tokens = counted && `${counted.estimated ? "about " : ""}${before} tokens in, ${after} out`;
  const cost = call && (call.cost_micro === null ? "price unknown" : `cost ${format.money(call.cost_micro)}`);
  const time = call && `${format.ms(call.total_ms)}${call.first_byte_ms === null ? "" : ` (first word ${format.ms(call.first_byte_ms)})`}`;
  fill(view.figures, [tokens, cost, time].filter(Boolean).join(" · "));
}
