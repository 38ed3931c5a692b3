// One message of a conversation on the screen: what was said, how it ended, and what can be done with it.
import { call } from "./api.js";
import { button, copyButton, fill, format, h } from "./elements.js";
import { pause } from "./chat_turn.js";
import { markdownView, markedText } from "./markdown.js";

const PICTURE = /^data:image\/(?:png|jpeg|gif|webp);base64,/;
const INPUTS = ["input", "cache_read", "cache_write", "cache_write_1h", "audio_in", "image_in"];
const OUTPUTS = ["output", "reasoning", "audio_out", "image_out"];
const RECORDED_AFTER_MS = 700;
const RECORD_AGAIN_MS = [300, 600, 1200];
const ENDINGS = {
  cut: ["cut"],
  cancelled: ["stopped", "You stopped this answer."],
  broken: ["failed", "This answer broke off. What had arrived is kept."],
  length: ["cut short", "This answer ended at the limit of tokens."],
};

/**
 * A view of a message: `update` shows what it has become, `place({siblings, isLast})` where it stands. Its buttons call
 * the screen's `branch`, `regenerate`, `edit` and `giveResults`.
 */
export function messageView(message, screen) {
  const isAnswer = message.role === "assistant";
  const node = h("article", { class: isAnswer ? "message answer" : "message question", tabindex: "-1" });
  node.ariaLabel = isAnswer ? `Answer of ${message.model ?? "a model"}` : "You";
  const arrows = h("span", { class: "arrows" });
  const said = isAnswer ? answerView(node, arrows, message, screen) : questionView(node, arrows, message, screen);
  const place = (where) => {
    fill(arrows, arrowsAmong(where.siblings, message, screen));
    said.place(where);
  };
  return { node, update: said.update, place };
}

function arrowsAmong(siblings, message, screen) {
  if (siblings.length < 2) return [];
  const at = siblings.indexOf(message);
  const arrow = (step, icon, title) => {
    const to = siblings[at + step];
    return button("", () => screen.branch(to, step), { icon, kind: "quiet", title, disabled: !to, "data-step": step });
  };
  const count = h("span", { title: `Version ${at + 1} of ${siblings.length}` }, `${at + 1} / ${siblings.length}`);
  return [arrow(-1, "left", "Earlier version"), count, arrow(1, "right", "Later version")];
}

const partsOf = (message, type) => (message.parts ?? []).filter((part) => part.type === type);
const code = () => h("pre", { class: "code", tabindex: "0" });

/** The addresses of a message's pictures, most of them data URLs. */
export function picturesOf(message) {
  const address = ({ data, media_type: kind, url }) => (data ? `data:${kind};base64,${data}` : url ?? "");
  return partsOf(message, "image").map(address);
}

function pictures(message) {
  return picturesOf(message).map((address) => {
    if (PICTURE.test(address)) return h("img", { src: address, alt: "A picture of this message" });
    // Fetching from elsewhere would tell somebody what is read here, and when.
    return h("span", { class: "tag" }, `Picture: ${address.slice(0, 200)}`);
  });
}

// --- what a person said: it stays as it is

function questionView(node, arrows, message, screen) {
  const body = h("div", { class: "said" });
  const results = partsOf(message, "tool_result");
  // As it was written, and nothing else: this is no Markdown.
  const text = h("div", { class: "plain", dir: "auto" }, markedText(message.content));
  const restore = () => fill(body, pictures(message), results.map(toolResult), text);
  const editing = () => fill(body, editForm(message, screen, restore)).querySelector("textarea").focus();
  const again = () => screen.regenerate(message);
  const retry = button("", again, { icon: "retry", kind: "quiet", title: "Answer this once more" });
  const edit = button("", editing, { icon: "edit", kind: "quiet", title: "Edit: ask this differently" });
  edit.hidden = results.length > 0;
  node.append(body, h("footer", {}, arrows, copyButton(message.content, ""), edit, retry));
  restore();
  return { update() {}, place({ isLast }) { retry.hidden = !isLast; } };
}

function toolResult(part) {
  const text = (part.parts ?? []).map((piece) => piece.text ?? "").join("");
  return h("details", {}, h("summary", {}, "Result of a tool"), fill(code(), markedText(text)));
}

/** Where a question is put differently; it stays until the gateway has the new one. */
function editForm(message, screen, restore) {
  const area = h("textarea", { "aria-label": "Edit the question", rows: "4", dir: "auto", value: message.content });
  const send = () => screen.edit(message, area.value, restore);
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
    if (event.key === "Escape") { event.stopPropagation(); restore(); }
  });
  const buttons = h("div", { class: "row end" }, button("Cancel", restore), button("Ask", send, { kind: "primary" }));
  return h("div", { class: "column" }, pictures(message), area, buttons);
}

// --- what a model said: it grows

function answerView(node, arrows, message, screen) {
  const again = () => screen.regenerate(message);
  const model = h("h2", { class: "quiet" });
  const thought = h("div", { class: "plain quiet", dir: "auto" });
  const thinking = h("details", { class: "thinking" }, h("summary", {}, "Thinking…"), thought);
  const text = markdownView();
  const tools = toolsView((results) => screen.giveResults(message, results));
  const ending = h("p", { class: "outcome" });
  const retry = button("", again, { icon: "retry", kind: "quiet", title: "Regenerate: another answer" });
  const foot = h("footer", {}, arrows, copyButton(() => message.content, ""), retry, figures(message));
  node.append(model, thinking, text.node, tools.node, ending, foot);
  const update = () => {
    const thoughts = partsOf(message, "think").map((part) => part.text).join("");
    const isGrowing = message.state === "pending";
    fill(model, markedText(message.model || "Answer"));
    fill(thought, markedText(thoughts));
    thinking.hidden = !thoughts;
    text.update(message.content);
    tools.update(partsOf(message, "tool_use"));
    fill(ending, endingOf(message, again));
    node.classList.toggle("streaming", isGrowing);
    foot.hidden = isGrowing;
  };
  return { update, place({ isLast }) { tools.open(isLast && message.state !== "pending"); } };
}

function endingOf({ content, reason, state, trouble, waiting, wasHeard }, again) {
  const quiet = (text) => h("span", { class: "quiet" }, text);
  if (state === "pending" && !wasHeard) return quiet("This is being answered elsewhere…");
  if (state === "pending") return content ? null : quiet(waiting ?? "Waiting for the first word…");
  const [label, words] = ENDINGS[trouble?.kind] ?? ENDINGS[state] ?? ENDINGS[reason] ?? [];
  if (!label) return null;
  const said = trouble ? `${trouble.message} ${trouble.advice}` : words;
  if (state !== "broken") return [h("span", { class: "tag" }, label), " ", said];
  return [h("span", { class: "tag bad" }, label), " ", said, button("Retry", again, { icon: "retry", kind: "quiet" })];
}

/** The calls of tools, folded, with a box for the result of each. All results are given together. */
function toolsView(give) {
  const uses = [];
  const list = h("div", { class: "column" });
  const giveAll = () => give(uses.map(({ id, area }) => ({ id, text: area.value })));
  const send = button("Send the results", giveAll, { kind: "primary" });
  const update = (parts) => parts.forEach((part, at) => {
    uses[at] ??= toolUse(list, part);
    fill(uses[at].json, markedText(pretty(part.arguments)));
  });
  const open = (isOpen) => {
    send.hidden = !isOpen || !uses.length;
    for (const { area } of uses) area.hidden = !isOpen;
  };
  return { node: h("div", { class: "tools" }, list, send), update, open };
}

function toolUse(list, { id, name }) {
  const json = code();
  const area = h("textarea", { "aria-label": `The result of ${name}`, placeholder: "What did the tool say?" });
  const summary = h("summary", {}, "Tool call: ", h("code", {}, markedText(name)));
  list.append(h("details", { class: "tool" }, summary, json, area));
  return { id, json, area };
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// --- tokens, cost and time: in the gateway's record of the call, which is read when the end of an answer is in sight

function figures(message) {
  const node = h("span", { class: "figures quiet" });
  const sight = new IntersectionObserver(async ([{ isIntersecting }]) => {
    if (!isIntersecting || !message.request_id) return;
    sight.disconnect();
    fill(node, await figuresOf(message));
  });
  sight.observe(node);
  return node;
}

async function figuresOf(message) {
  const record = await recordOf(message);
  if (!record) return null;
  const { cost_micro: cost, estimated, first_byte_ms: first, tokens, total_ms: total } = record;
  const count = (kinds) => format.count(kinds.reduce((sum, kind) => sum + (tokens[kind] ?? 0), 0));
  return [
    `${estimated ? "about " : ""}${count(INPUTS)} tokens in, ${count(OUTPUTS)} out`,
    cost === null ? "price unknown" : `cost ${format.money(cost)}`,
    format.ms(total) + (first === null ? "" : ` (first word ${format.ms(first)})`),
  ].join(" · ");
}

/** A record is written a moment after the call's end; null when there is none. */
async function recordOf({ request_id: id, wasHeard }) {
  for (const ms of [wasHeard ? RECORDED_AFTER_MS : 0, ...RECORD_AGAIN_MS]) {
    await pause(ms);
    try {
      return await call("GET", `/api/requests/${encodeURIComponent(id)}`);
    } catch (error) {
      if (error.status !== 404) return null;
    }
  }
  return null;
}
