/* The card of one way in: its request, to paste or to try, and what comes back: the frames and their reading. */
import { pieces, trouble } from "./api.js";
import { meaning, requestOf } from "./dialect_list.js";
import { button, copyButton, field, fill, format, h } from "./elements.js";
import { cutNothing, newReading, visible, wordsOf } from "./frames.js";
import { snippet } from "./snippets.js";

const LANGUAGES = ["curl", "python", "javascript"];
const MOST_FRAMES = 2000;
const MOST_BYTES = 1_000_000;
const DRAW_MS = 50;
const TOLD = /^(content-type|retry-after|x-request-id|x-dragoman|x-ratelimit)/;
const MASK = "********";
const sizeOf = (text) => new TextEncoder().encode(text).length;

/** Frames of a WebSocket that asks one thing. Ends when the gateway closes it or `signal` is aborted. */
async function* socketFrames({ url, frame }, signal) {
  const socket = new WebSocket(url);
  const waiting = [];
  let wake = () => {};
  const put = (item) => { waiting.push(item); wake(); };
  socket.onopen = () => socket.send(frame);
  socket.onmessage = ({ data }) => put({ data });
  socket.onclose = ({ code, reason }) => put({ code, reason });
  signal.addEventListener("abort", () => put({ code: 0 }));
  try {
    for (;;) {
      while (!waiting.length) await new Promise((resolve) => { wake = resolve; });
      const item = waiting.shift();
      if (item.data === undefined) {
        const why = item.reason || "Can this browser reach the port?";
        if (item.code > 1001) throw new Error(`The socket was closed (${item.code}). ${why}`);
        return;
      }
      yield item.data;
    }
  } finally {
    socket.close();
  }
}

/** Send a request and give its frames as they come; `told` gets the head of an HTTP answer. */
async function* exchange(request, way, signal, told) {
  if (request.kind === "socket") {
    yield* socketFrames(request, signal);
    return;
  }
  const { method, headers } = request;
  const body = request.body && JSON.stringify(request.body);
  const response = await fetch(request.url, { method, headers, body, signal, credentials: "omit", cache: "no-store" });
  told(response);
  const cut = response.ok ? way.cut : cutNothing;
  let rest = "";
  for await (const piece of pieces(response)) {
    const [frames, left] = cut(rest + piece);
    rest = left;
    yield* frames;
  }
  if (rest) yield rest;
}

/** How an attempt ended, as [kind of notice, sentence]. */
function conclusion(way, { reading, response, thrown, isStopped, body }) {
  if (isStopped) return ["warn", "Stopped by you. The provider is told to stop as well."];
  if (response && !response.ok) {
    const words = decodeURIComponent(response.headers.get("x-dragoman-error") ?? "") || wordsOf(body);
    const told = words && `The gateway’s words: ${words}`;
    return ["bad", `Refused with ${response.status}. ${meaning(way, response.status)} ${told}`];
  }
  if (reading.error) return ["bad", `Error: ${reading.error}`];
  if (thrown) return ["bad", `${thrown.message} ${thrown.advice}`];
  return reading.ended ? ["good", reading.ended] : ["bad", "Cut: it ended before its last event came."];
}

/** One way in. `world` is what all cards share: see dialects.js. */
export class DialectCard extends HTMLElement {
  /** Build the card of one way in; `world` is what all cards share. */
  prepare(way, world) {
    Object.assign(this, { way, world, id: `dialect-${way.id}`, language: "curl", inputs: {} });
    for (const box of way.boxes ?? []) this.inputs[box.name] = this.input(box);
    this.code = h("pre", { class: "code", role: "tabpanel", tabindex: "0", id: `${this.id}-code` });
    this.tries = button("Try it", () => this.attempt(), { icon: "play", kind: "primary" });
    this.stop = button("Stop", () => this.running?.abort(), { icon: "stop" });
    this.results = h("div", { class: "results" });
    this.main = h("div", { class: "column" });
    const title = h("h3", { id: `${this.id}-title`, tabindex: "-1" }, way.title);
    fill(this, h("section", { class: "card column", "aria-labelledby": title.id },
      h("div", {}, title, h("p", { class: "quiet" }, way.about)), this.main, this.results));
    return this;
  }

  input({ value = "", hint, isSecret = false }) {
    const [type, secret] = isSecret ? ["password", "yes"] : ["text", ""];
    const more = { autocomplete: "off", spellcheck: "false", placeholder: hint, on: { input: () => this.draw() } };
    return h("input", { value, type, data: { secret }, ...more });
  }

  /** Show the ways to ask, or why there are none. */
  arrange() {
    const { needs, boxes } = this.way;
    if (needs && !this.world.listeners[needs]) {
      fill(this.main, h("p", { class: "notice" }, `Not listening: set server.${needs}_port.`));
      return;
    }
    const fields = (boxes ?? []).map(({ name, label }) => field(label, this.inputs[name]));
    const note = h("span", { class: "quiet" }, "A browser cannot speak gRPC: use grpcurl or Python from here.");
    const copy = copyButton(async () => this.text(await this.world.freshKey()));
    fill(this.main, fields.length ? h("div", { class: "row boxes" }, fields) : null,
      h("div", { class: "row between" }, this.tabs(), copy), this.code,
      h("div", { class: "row" }, needs === "grpc" ? note : [this.tries, this.stop]));
    this.stop.classList.toggle("hidden", !this.running);
    this.draw();
  }

  tabs() {
    const tab = (name) => h("button", {
      type: "button", role: "tab", id: `${this.id}-${name}`, "aria-controls": this.code.id,
      data: { language: name }, on: { click: () => this.choose(name) },
    }, this.tabName(name));
    const keys = { role: "tablist", "aria-label": "Language", on: { keydown: (event) => this.move(event) } };
    return h("div", { class: "tabs", ...keys }, LANGUAGES.map(tab));
  }

  /** Move among the tabs as the ARIA Authoring Practices have it. */
  move(event) {
    const [at, count] = [LANGUAGES.indexOf(this.language), LANGUAGES.length];
    const keys = { ArrowRight: (at + 1) % count, ArrowLeft: (at + count - 1) % count, Home: 0, End: count - 1 };
    const to = keys[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.choose(LANGUAGES[to]);
    this.querySelectorAll("[role=tab]")[to].focus();
  }

  tabName(name) {
    if (name !== "curl") return { python: "Python", javascript: "JavaScript" }[name];
    if (this.way.needs === "grpc") return "grpcurl";
    return this.way.cut ? "curl" : "websocat";
  }

  choose(language) {
    this.language = language;
    this.draw();
  }

  request(key, isMasked = false) {
    const valueOf = (input) => (isMasked && input.dataset.secret && input.value ? MASK : input.value);
    const boxes = Object.fromEntries(Object.entries(this.inputs).map(([name, input]) => [name, valueOf(input)]));
    return requestOf(this.way, { ...this.world.context(), key, boxes });
  }

  text(key, isMasked = false) {
    return snippet(this.request(key, isMasked), this.language);
  }

  draw() {
    for (const tab of this.querySelectorAll("[role=tab]")) {
      const isChosen = tab.dataset.language === this.language;
      tab.setAttribute("aria-selected", isChosen);
      tab.tabIndex = isChosen ? 0 : -1;
    }
    this.code.setAttribute("aria-labelledby", `${this.id}-${this.language}`);
    const { isShown, key } = this.world;
    this.code.textContent = this.text(isShown ? key : MASK, !isShown);
  }

  /** Send what the card shows, and show what comes. */
  async attempt() {
    this.running?.abort();
    const running = new AbortController();
    const run = { began: performance.now(), reading: newReading(), frames: 0, bytes: 0, body: "" };
    Object.assign(this, { running, run });
    this.layOut();
    this.stop.classList.remove("hidden");
    try {
      const request = this.request(await this.world.freshKey());
      run.began = performance.now();
      const told = (response) => this.tellHead(run, response);
      for await (const frame of exchange(request, this.way, running.signal, told)) {
        this.take(run, frame);
        if (request.kind === "socket" && (run.reading.ended || run.reading.error)) break;
      }
    } catch (error) {
      run.thrown = trouble(error);
    }
    run.isStopped = running.signal.aborted;
    run.ms = performance.now() - run.began;
    if (this.run !== run) return;
    this.running = null;
    this.stop.classList.add("hidden");
    this.drawReading(run);
  }

  layOut() {
    this.head = h("div", { class: "row mono quiet" }, "Sent, waiting …");
    this.list = h("ol", { class: "frames", tabindex: "0", "aria-label": "Frames as they arrive" });
    this.left = h("p", { class: "quiet" });
    const named = { tabindex: "0", role: "group", "aria-label": "Text of the answer" };
    this.said = h("div", { class: "said", dir: "auto", ...named });
    this.ending = h("div", { role: "status" });
    this.more = h("div", { class: "column" });
    fill(this.results, this.head, h("div", { class: "panes" },
      h("div", {}, h("h4", {}, "Frames as they arrive"), this.list, this.left),
      h("div", {}, h("h4", {}, "What it says"), this.said, this.ending, this.more)));
  }

  tellHead(run, response) {
    run.response = response;
    const told = [...response.headers].filter(([name]) => TOLD.test(name));
    const status = `${response.status} ${response.statusText}`;
    fill(this.head, h("span", { class: `tag ${response.ok ? "good" : "bad"}` }, status),
      told.map(([name, value]) => h("span", {}, `${name}: ${value}`)));
  }

  take(run, frame) {
    const size = sizeOf(frame);
    run.frames += 1;
    run.bytes += size;
    if (run.response && !run.response.ok) run.body += frame;
    else this.read(run.reading, frame);
    if (this.run !== run) return;
    if (run.frames <= MOST_FRAMES && run.bytes <= MOST_BYTES) {
      const label = `${Math.round(performance.now() - run.began)} ms · ${format.count(size)} bytes`;
      this.list.append(h("li", {}, h("span", { class: "quiet" }, label), h("pre", {}, visible(frame))));
      run.shown = run.frames;
    }
    run.drawing ??= setTimeout(() => {
      run.drawing = null;
      if (this.run === run) this.drawReading(run);
    }, DRAW_MS);
  }

  read(reading, frame) {
    try {
      this.way.read(reading, frame);
    } catch {
      reading.error = "A frame is not what this dialect has: see the frames.";
    }
  }

  drawReading(run) {
    const { reading } = run;
    this.said.textContent = reading.text.slice(0, MOST_BYTES);
    const out = run.frames - (run.shown ?? 0);
    this.left.textContent = out ? `Read, but left out here: ${format.count(out)} more.` : "";
    if (run.ms === undefined) return;
    if (!run.response) fill(this.head, run.frames ? h("span", { class: "tag good" }, "101 WebSocket") : "No answer.");
    const [kind, sentence] = conclusion(this.way, run);
    const frames = `${format.count(run.frames)} ${run.frames === 1 ? "frame" : "frames"}`;
    const counted = `${frames}, ${format.count(run.bytes)} bytes in ${format.ms(run.ms)}.`;
    fill(this.ending, h("p", { class: `ending ${kind}` }, sentence), h("p", { class: "quiet" }, counted));
    fill(this.more, h("dl", { class: "ids" }, factsOf(reading)), this.next(reading));
  }

  /** What can be done with an answer: ask on, or use its token. */
  next({ ids, token }) {
    const hasPlace = this.inputs.parent || this.way.family;
    const use = () => this.world.use(token, "The token that was just made.");
    const askOn = () => this.dispatchEvent(new CustomEvent("ask-on", { detail: ids, bubbles: true }));
    if (token) return button("Use it as the key", use, { icon: "key" });
    if (!hasPlace || !(ids.conversation || ids.parent)) return null;
    return button("Ask on in this conversation", askOn, { icon: "right" });
  }

  /** Take over the ids of a conversation, for the next try. */
  goOn(ids) {
    for (const [name, value] of Object.entries(ids)) if (value && this.inputs[name]) this.inputs[name].value = value;
    this.draw();
    this.tries.scrollIntoView({ block: "nearest" });
  }
}

/** Ids, usage and thinking, as the rows of a list; what has parts of its own is left to the frames. */
function factsOf({ ids, usage, thinking }) {
  const facts = Object.entries({ ...ids, ...usage, ...(thinking && { thinking }) });
  const plain = facts.filter(([, value]) => value !== undefined && typeof value !== "object");
  return plain.map(([name, value]) => [h("dt", {}, name), h("dd", { class: "mono" }, String(value))]);
}
