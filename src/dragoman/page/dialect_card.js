/* The card of one way in: its request, to paste or to try, and what comes back: the frames and their reading. */
import { gone, pieces, trouble } from "./api.js";
import { MEANINGS } from "./dialect_list.js";
import { button, copyButton, field, fill, format, h, icon } from "./elements.js";
import { cut, extended, visible, wordsOf } from "./frames.js";
import { writers } from "./snippets.js";

const MOST_FRAMES = 2000;
const MOST_BYTES = 1_000_000;
const TOLD = /^(content-type|retry-after|x-request-id|x-dragoman|x-ratelimit)/;
const MASK = "********";
const sizeOf = (text) => new TextEncoder().encode(text).length;

/** Ask over HTTP; `told` gets the head of the answer, `take` each frame as it comes. */
async function overHttp({ method, url, headers, body }, signal, take, told) {
  const options = { method, headers, body: body && JSON.stringify(body), credentials: "omit", cache: "no-store" };
  const fail = (error) => { throw signal.aborted ? error : gone(); };
  const response = await fetch(url, { ...options, signal }).catch(fail);
  told(response);
  let frames, rest = "";
  for await (const piece of pieces(response)) {
    [frames, rest] = cut(rest + piece, response.headers.get("content-type") ?? "");
    for (const frame of frames) take(frame);
  }
  if (rest) take(rest);
}

/** Ask one thing over a socket; `take` returns whether a frame was the last. */
function overSocket({ url, frame }, signal, take) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    const leave = () => { socket.close(); resolve(); };
    signal.onabort = leave;
    socket.onopen = () => socket.send(frame);
    socket.onmessage = ({ data }) => { if (take(data)) leave(); };
    socket.onclose = ({ code, reason }) => {
      const why = `The socket was closed (${code}). ${reason || "Can this browser reach the port?"}`;
      return code > 1001 ? reject(new Error(why)) : resolve();
    };
  });
}

/** How an attempt ended, as [kind of notice, sentence]. */
function conclusion(way, { reading, response, thrown, isStopped }) {
  if (isStopped) return ["warn", "Stopped by you. The provider is told to stop as well."];
  if (response && !response.ok) {
    const words = decodeURIComponent(response.headers.get("x-dragoman-error") ?? "") || reading.error;
    const meaning = way.refused?.[response.status] ?? MEANINGS[response.status] ?? "";
    return ["bad", `Refused with ${response.status}. ${meaning} ${words && `The gateway’s words: ${words}`}`];
  }
  if (reading.error) return ["bad", `Error: ${reading.error}`];
  if (thrown) return ["bad", `${thrown.message} ${thrown.advice}`];
  if (reading.ended) return ["good", `Complete: ${reading.ended} came.`];
  return ["bad", "Cut: it ended before its last event came."];
}

/** The head of an answer, as far as there is one. */
function headOf({ response, frames, ms }) {
  if (!response && frames) return h("span", { class: "tag good" }, "101 WebSocket");
  if (!response) return ms === undefined ? "Sent, waiting …" : "No answer.";
  const told = [...response.headers].filter(([name]) => TOLD.test(name)).map((pair) => h("span", {}, pair.join(": ")));
  const status = `${response.status} ${response.statusText}`;
  return [h("span", { class: `tag ${response.ok ? "good" : "bad"}` }, status), told];
}

/** Ids, usage and thinking, as a list; what has parts of its own is left to the frames. */
function factsOf({ ids, usage, thinking }) {
  const facts = Object.entries({ ...ids, ...usage, thinking });
  const plain = facts.filter(([, value]) => (value ?? "") !== "" && typeof value !== "object");
  const row = ([name, value]) => [h("dt", {}, name), h("dd", { class: "mono" }, String(value))];
  return h("dl", { class: "ids" }, plain.map(row));
}

/** One way in. `bench` is the screen, which has the question and the key of all cards. */
export class DialectCard extends HTMLElement {
  /** Build the card of one way in. */
  prepare(way, bench) {
    Object.assign(this, { way, bench, id: `dialect-${way.id}`, inputs: {} });
    const title = h("h3", { id: `${this.id}-title`, tabindex: "-1" }, way.title);
    this.results = h("div", { class: "results" });
    const isThere = !way.needs || bench.listeners[way.needs];
    fill(this, h("section", { class: "card column", "aria-labelledby": title.id },
      h("div", {}, title, h("p", { class: "quiet" }, way.about)),
      isThere ? this.parts() : h("p", { class: "notice" }, `Not listening: set server.${way.needs}_port.`),
      this.results));
    return this;
  }

  /** The boxes of this way in, its request as text to paste, and the button that tries it. */
  parts() {
    const redraw = { input: () => this.draw() };
    const boxes = Object.entries(this.way.boxes ?? {}).map(([name, props]) => {
      this.inputs[name] = h("input", { autocomplete: "off", ...props, on: redraw });
      return field(name, this.inputs[name]);
    });
    const { kind } = this.request(MASK);
    const names = Object.keys(writers[kind]).map((name) => h("option", {}, name));
    this.language = h("select", { "aria-label": "Language", on: redraw }, names);
    this.code = h("pre", { class: "code", role: "group", "aria-label": "Request", tabindex: "0" });
    this.tries = button("Try it", () => this.press(), { icon: "play", kind: "primary" });
    const tries = kind === "grpc" ? h("span", { class: "quiet" }, "A browser cannot speak gRPC.") : this.tries;
    const copy = copyButton(async () => this.text(await this.bench.freshKey()));
    return [boxes.length > 0 && h("div", { class: "row" }, boxes),
      h("div", { class: "row" }, tries, this.language, copy), this.code];
  }

  /** What would be sent for what is in the boxes, byte for byte. */
  request(key, isMasked = false) {
    const valueOf = ({ type, value }) => (isMasked && type === "password" && value ? MASK : value);
    const boxes = Object.fromEntries(Object.entries(this.inputs).map(([name, input]) => [name, valueOf(input)]));
    const asked = this.bench.asked();
    const request = this.way.request({ ...asked, key, boxes });
    return { url: asked.origin + request.path, origin: asked.origin, key, ...request };
  }

  text(key, isMasked = false) {
    const request = this.request(key, isMasked);
    return writers[request.kind][this.language.value](request);
  }

  draw() {
    if (!this.code) return;
    const { isShown, key } = this.bench;
    const text = this.text(isShown ? key : MASK, !isShown);
    // What stays the same stays selected, too.
    if (this.code.textContent !== text) this.code.textContent = text;
  }

  /** Try it, or stop what is under way. */
  async press() {
    if (this.running) return this.running.abort();
    this.running = new AbortController();
    fill(this.tries, icon("stop"), "Stop");
    await this.attempt(this.running.signal);
    this.running = null;
    fill(this.tries, icon("play"), "Try it");
  }

  /** Send what the card shows, and show what comes. */
  async attempt(signal) {
    const run = { began: performance.now(), reading: extended(), frames: 0, bytes: 0, shown: 0 };
    this.layOut(run);
    try {
      const request = this.request(await this.bench.freshKey());
      run.began = performance.now();
      const take = (frame) => this.take(run, frame);
      if (request.kind === "socket") await overSocket(request, signal, take);
      else await overHttp(request, signal, take, (response) => { run.response = response; });
    } catch (error) {
      run.thrown = trouble(error);
    }
    run.isStopped = signal.aborted;
    run.ms = performance.now() - run.began;
    cancelAnimationFrame(run.drawing);
    this.drawRun(run);
    this.drawEnd(run);
  }

  layOut(run) {
    this.head = h("div", { class: "row mono quiet" });
    this.list = h("ol", { class: "frames", tabindex: "0", "aria-label": "Frames as they arrive" });
    this.left = h("p", { class: "quiet" });
    const named = { role: "group", "aria-label": "Text of the answer" };
    this.said = h("div", { class: "said", dir: "auto", tabindex: "0", ...named });
    this.ending = h("div", { role: "status" });
    this.more = h("div");
    fill(this.results, this.head, h("div", { class: "panes" },
      h("div", {}, h("h4", {}, "Frames as they arrive"), this.list, this.left),
      h("div", {}, h("h4", {}, "What it says"), this.said, this.ending, this.more)));
    this.drawRun(run);
  }

  /** Read and show a frame; returns whether it was the last of its answer. */
  take(run, frame) {
    const size = sizeOf(frame);
    run.frames += 1;
    run.bytes += size;
    const isRefused = run.response && !run.response.ok;
    run.reading = extended(run.reading, isRefused ? { error: wordsOf(frame) } : this.way.read(frame));
    if (run.frames <= MOST_FRAMES && run.bytes <= MOST_BYTES) {
      const label = `${Math.round(performance.now() - run.began)} ms · ${format.count(size)} bytes`;
      this.list.append(h("li", {}, h("span", { class: "quiet" }, label), h("pre", {}, visible(frame))));
      run.shown += 1;
    }
    this.drawSoon(run);
    return Boolean(run.reading.ended || run.reading.error);
  }

  /** Draw once for all frames that come between two pictures of the browser. */
  drawSoon(run) {
    run.drawing ??= requestAnimationFrame(() => { run.drawing = null; this.drawRun(run); });
  }

  drawRun(run) {
    fill(this.head, headOf(run));
    this.said.textContent = run.reading.text.slice(0, MOST_BYTES);
    const out = run.frames - run.shown;
    this.left.textContent = out ? `Read, but left out here: ${format.count(out)} more.` : "";
  }

  drawEnd(run) {
    const [kind, sentence] = conclusion(this.way, run);
    const frames = `${format.count(run.frames)} ${run.frames === 1 ? "frame" : "frames"}`;
    const counted = `${frames}, ${format.count(run.bytes)} bytes in ${format.ms(run.ms)}.`;
    fill(this.ending, h("p", { class: `ending ${kind}` }, sentence), h("p", { class: "quiet" }, counted));
    fill(this.more, factsOf(run.reading), this.next(run.reading));
  }

  /** What can be done with an answer: ask on, or use its token. */
  next({ ids, token }) {
    if (token) return button("Use it as the key", () => this.bench.use(token), { icon: "key" });
    if (!ids.conversation && !ids.parent) return null;
    return button("Ask on in this conversation", () => this.bench.askOn(ids), { icon: "right" });
  }
}
