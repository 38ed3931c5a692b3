// The screen of conversations: the list at the side, the thread, and where the next question is written.
import { call, Trouble, trouble } from "./api.js";
import { button, fill, h, Screen, troubleBox } from "./elements.js";
import { composer } from "./chat_composer.js";
import { conversationList } from "./chat_list.js";
import { messageView, showFigures } from "./chat_message.js";
import { childrenByParent, messageOf, newestLeaf, pathTo, withMessages, withoutMessages } from "./chat_tree.js";
import { ANSWERING, ASKING, contentOf, extend, listen, localMessages } from "./chat_turn.js";

const AT_END_PX = 60;
const SETTLE_MS = 700;
const FIGURES_AGAIN_MS = [150, 300, 600, 1200];
const CUT = "The connection was cut; what had arrived is kept.";

const roomOf = (id) => ({ id, tree: { root: null, messages: [] }, leaf: null, title: "", turn: null, notes: new Map() });
const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

class Chat extends Screen {
  /** Conversations in which an answer is under way, by their ids. */
  busy = new Map();
  views = new Map();
  figures = new Map();
  isAtEnd = true;

  async show(rest) {
    if (!this.list) this.build();
    // Back from another screen one finds what one left.
    const id = decodeURIComponent(rest) || (this.isShown ? "" : this.room?.id ?? "");
    if (id !== rest) history.replaceState(null, "", `#/chat/${id}`);
    this.isShown = true;
    if (this.room?.id !== id || !this.room) this.enter(this.busy.get(id) ?? roomOf(id));
    this.list.refresh();
    this.composer.loadModels().catch((error) => this.complain(error));
    if (id && !this.room.turn) await this.read(this.room);
  }

  hide() {
    super.hide();
    this.isShown = false;
  }

  build() {
    this.actions = {
      branch: (to, step) => this.branch(to, step),
      regenerate: (message) => this.regenerate(message),
      edit: (message, text) => this.edit(message, text),
      giveResult: (message, id, text) => this.giveResult(message, id, text),
    };
    const begin = () => this.begin();
    const gone = (id) => this.room.id === id && begin();
    this.list = conversationList({ begin, gone, renamed: (id, title) => this.retitle(id, title) });
    this.composer = composer({ send: () => this.send(), stop: () => this.room.turn?.abort() });
    this.heading = h("h1", { dir: "auto" });
    const menu = button("", () => this.drawer(), { icon: "menu", kind: "quiet", title: "Conversations" });
    menu.classList.add("drawer-button");
    this.thread = h("div", { class: "thread" });
    this.scroller = h("div", { class: "thread-scroll", tabindex: "-1" }, this.thread);
    this.jump = button("Jump to the end", () => this.toEnd(), { kind: "quiet", hidden: true });
    this.jump.classList.add("jump");
    this.live = h("div", { class: "offscreen", role: "status" });
    const main = h("section", { class: "main chat", "aria-label": "Conversation" }, h("div", { class: "chat-head row" }, menu, this.heading),
      this.scroller, h("div", { class: "chat-foot" }, this.jump, this.composer.node), this.live);
    this.append(h("div", { class: "split" }, this.list.node, main));
    this.watch();
  }

  watch() {
    this.seen = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) if (isIntersecting) this.fetchFigures(target.view);
    }, { root: this.scroller });
    this.scroller.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.scroller;
      this.isAtEnd = scrollHeight - scrollTop - clientHeight < AT_END_PX;
      this.jump.hidden = this.isAtEnd;
    });
    new ResizeObserver(() => this.follow()).observe(this.thread);
    this.scroller.addEventListener("pointerdown", () => this.drawer(false));
    addEventListener("keydown", (event) => this.isShown && !document.querySelector("dialog[open]") && this.shortcut(event));
    addEventListener("dragoman:back", () => this.recover());
  }

  shortcut(event) {
    const isNew = (event.altKey && event.code === "KeyN") || ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k");
    if (isNew) event.preventDefault();
    if (isNew) this.begin();
    else if (event.key === "Escape" && this.list.node.classList.contains("open")) this.drawer(false);
    else if (event.key === "Escape") this.room.turn?.abort();
  }

  // --- which conversation

  begin() {
    this.drawer(false);
    if (this.room.id) location.hash = "#/chat";
    this.composer.area.focus();
  }

  enter(room) {
    this.room = room;
    this.views.clear();
    this.seen.disconnect();
    fill(this.composer.wrong);
    this.composer.open(room.id);
    this.composer.busy(Boolean(room.turn));
    this.list.select(room.id);
    this.drawer(false);
    this.isAtEnd = true;
    fill(this.thread);
    this.draw();
    this.composer.area.focus({ preventScroll: true });
  }

  drawer(isOpen) {
    const side = this.list.node;
    if (side.classList.toggle("open", isOpen)) side.querySelector("button")?.focus();
  }

  retitle(id, title) {
    if (this.room.id === id) this.room.title = title;
    this.draw();
  }

  /** The tree is the gateway's; asked for again while an answer is under way elsewhere. */
  async read(room) {
    let tree;
    try {
      tree = await call("GET", `/api/conversations/${encodeURIComponent(room.id)}`);
    } catch (error) {
      if (this.room === room && trouble(error).kind !== "gone") this.complain(error);
      return;
    }
    if (room.turn) return;
    const mine = messageOf(room.tree, room.leaf);
    const theirs = messageOf(tree, room.leaf);
    if (theirs?.state === "complete") room.notes.delete(room.leaf);
    // What ended here a moment ago ends there in a moment.
    if (theirs?.state === "pending" && mine && mine.state !== "pending") tree = withMessages(tree, mine);
    // A gateway that was killed may have saved less than what it had sent.
    else if (theirs?.state === "broken" && mine?.content.startsWith(theirs.content)) Object.assign(theirs, { content: mine.content });
    room.tree = tree;
    room.title = tree.title;
    room.leaf = this.leafIn(tree, room, mine);
    if (room === this.room) this.draw();
    const isPending = (theirs ?? messageOf(tree, room.leaf))?.state === "pending";
    if (isPending && this.isShown) this.timers.add(setTimeout(() => this.room === room && this.read(room), SETTLE_MS));
  }

  leafIn(tree, room, mine) {
    const kept = room.leaf ?? sessionStorage.getItem(`dragoman-leaf-${room.id}`);
    return [kept, mine?.parent].find((id) => id && messageOf(tree, id)) ?? tree.current;
  }

  recover() {
    if (!this.room || !this.isShown) return;
    fill(this.composer.wrong);
    this.list.refresh();
    if (this.room.id && !this.room.turn) this.read(this.room);
  }

  // --- what a person does

  send() {
    const { area, pictures } = this.composer;
    const draft = { text: area.value, pictures };
    if (this.room.turn || (!draft.text.trim() && !pictures.length)) return;
    this.turn({ parent: this.lastAnswer(), ...contentOf(draft.text, pictures), draft });
  }

  /** A question follows an answer; one that was never answered has the next beside it. */
  lastAnswer() {
    const path = pathTo(this.room.tree, this.room.leaf);
    return path.findLast((message) => message.role === "assistant")?.id ?? this.room.tree.root;
  }

  edit(message, text) {
    const pictures = (message.parts ?? []).filter((part) => part.type === "image")
      .map((part) => (part.data ? `data:${part.media_type};base64,${part.data}` : part.url));
    this.turn({ parent: message.parent, ...contentOf(text, pictures), draft: { text, pictures }, isEdit: true });
  }

  regenerate(message) {
    this.turn({ parent: message.role === "user" ? message.id : message.parent });
  }

  giveResult(message, id, text) {
    const parts = [{ type: "tool_result", id, parts: [{ type: "text", text }] }];
    this.turn({ parent: message.id, content: [{ type: "tool_result", tool_call_id: id, content: text }], shown: { content: "", parts } });
  }

  branch(to, step) {
    this.room.leaf = newestLeaf(this.room.tree, to.id);
    this.keepLeaf();
    this.isAtEnd = false;
    this.draw();
    const { node } = this.views.get(to.id);
    const arrow = node.querySelector(`[data-step="${step}"]:enabled`) ?? node.querySelector("[data-step]:enabled");
    (arrow ?? node).focus();
  }

  keepLeaf() {
    if (this.room.id) sessionStorage.setItem(`dragoman-leaf-${this.room.id}`, this.room.leaf);
  }

  // --- a question and its answer

  async turn(asked) {
    const room = this.room;
    if (room.turn) return;
    fill(this.composer.wrong);
    let settings;
    try {
      settings = this.composer.settings();
    } catch (error) {
      fill(this.composer.wrong, troubleBox(error));
      return;
    }
    const before = room.leaf;
    if (asked.draft && !asked.isEdit) this.composer.clear();
    this.startTurn(room, asked, settings);
    const body = { ...settings, content: asked.content, parent_id: asked.parent ?? undefined, conversation_id: room.id || undefined };
    try {
      await listen(body, room.turn.signal, { took: (event) => this.take(room, event), waits: () => this.waits(room) });
    } catch (error) {
      this.failed(room, trouble(error), asked, before);
    }
    await this.endTurn(room);
  }

  startTurn(room, asked, { model }) {
    const controller = new AbortController();
    const { question, answer } = localMessages({ ...asked, model });
    room.turn = { signal: controller.signal, abort: () => controller.abort(), question, answer, hasBegun: false };
    room.tree = withMessages(room.tree, ...[question, answer].filter(Boolean));
    room.leaf = ANSWERING;
    this.composer.busy(true);
    this.isAtEnd = true;
    this.draw();
  }

  waits(room) {
    room.turn.answer.waiting = "Another answer of this conversation is under way. Waiting for its end…";
    this.soon(room);
  }

  take(room, event) {
    const { answer } = room.turn;
    if (event.type === "begin") this.named(room, event);
    else if (event.type === "error") {
      const advice = event.retry_after_s ? `Try again in ${Math.ceil(event.retry_after_s)} s.` : "";
      Object.assign(answer, { state: "broken" });
      room.notes.set(answer.id, { kind: "failed", message: event.message, advice });
    } else extend(answer, event);
    if (event.type === "end") this.figures.set(answer.request_id, { usage: event.usage });
    this.soon(room);
  }

  /** The gateway has saved the question: what was typed is safe, and everything has its name. */
  named(room, event) {
    const { turn } = room;
    const { question, answer } = turn;
    turn.hasBegun = true;
    room.tree = withoutMessages(room.tree, ASKING, ANSWERING);
    room.tree.root ??= event.parent_id;
    if (question) Object.assign(question, { id: event.question_id, parent: event.parent_id });
    Object.assign(answer, { id: event.message_id, parent: event.question_id, model: event.model, request_id: event.request_id });
    room.tree = withMessages(room.tree, ...[question, answer].filter(Boolean));
    room.leaf = answer.id;
    const isNew = !room.id;
    if (this.room === room) this.composer.saved(event.conversation_id);
    room.id = event.conversation_id;
    this.busy.set(room.id, room);
    if (this.room !== room) return;
    if (isNew && this.isShown) history.replaceState(null, "", `#/chat/${room.id}`);
    this.keepLeaf();
    this.list.select(room.id);
    if (isNew) this.list.refresh();
    this.draw();
  }

  failed(room, error, asked, before) {
    const { answer, hasBegun } = room.turn;
    if (hasBegun) {
      answer.state = error.kind === "stopped" ? "cancelled" : "broken";
      if (error.kind === "cut") room.notes.set(answer.id, { kind: "cut", message: CUT });
      else if (error.kind !== "stopped") room.notes.set(answer.id, error);
      return;
    }
    room.tree = withoutMessages(room.tree, ASKING, ANSWERING);
    room.leaf = before;
    const { draft } = asked;
    if (draft) this.composer.giveBack(room.id, draft.text, draft.pictures);
    if (this.room !== room || error.kind === "stopped") return;
    const early = () => new Trouble("The connection was cut before the answer began.", { advice: "Your text is still here." });
    const shown = error.kind === "cut" ? early() : error;
    const retry = () => {
      if (draft && !asked.isEdit) return this.send();
      if (draft?.text === this.composer.area.value) this.composer.clear();
      return this.turn(asked);
    };
    fill(this.composer.wrong, troubleBox(shown, { retry }));
  }

  async endTurn(room) {
    const { answer, hasBegun } = room.turn;
    answer.isStreaming = false;
    room.turn = null;
    this.busy.delete(room.id);
    this.list.refresh();
    if (room === this.room) {
      this.composer.busy(false);
      fill(this.live, hasBegun ? (answer.state === "complete" ? "Answer complete." : "The answer has ended early.") : "");
      this.draw();
      if (this.isShown && !this.contains(document.activeElement)) this.composer.area.focus({ preventScroll: true });
    }
    if (!hasBegun) return;
    if (room === this.room) this.fetchFigures(this.viewOf(answer), SETTLE_MS);
    await this.read(room);
  }

  // --- what is seen

  viewOf(message) {
    const found = this.views.get(message.id);
    if (found) return found;
    const view = messageView(this.actions);
    this.views.set(message.id, view);
    view.node.view = view;
    view.node.dataset.id = message.id;
    if (message.role === "assistant") this.seen.observe(view.node);
    return view;
  }

  draw() {
    const { room } = this;
    const path = pathTo(room.tree, room.leaf);
    const children = childrenByParent(room.tree);
    const nodes = path.map((message) => {
      const view = this.viewOf(message);
      this.update(room, view, message);
      view.place(children.get(message.parent));
      return view.node;
    });
    fill(this.heading, room.title || (room.id ? "Conversation" : "New chat"));
    const shown = nodes.length || room.id ? nodes : [welcome()];
    const there = this.thread.childNodes;
    // Putting back what is there would take its focus and its selection away.
    if (shown.length !== there.length || shown.some((node, at) => node !== there[at])) fill(this.thread, shown);
    this.follow();
  }

  update(room, view, message) {
    view.update({ ...message, note: room.notes.get(message.id), isLast: message.id === room.leaf });
    const known = this.figures.get(message.request_id);
    if (known) showFigures(view, known.usage, known.call);
  }

  /** Draw the answer that grows, once a frame, and seldom when drawing is slow. */
  soon(room) {
    if (this.frame || room !== this.room) return;
    this.frame = requestAnimationFrame(async () => {
      const begun = performance.now();
      const message = room.turn?.answer;
      if (message && room === this.room) this.update(room, this.viewOf(message), message);
      this.follow();
      const tookMs = performance.now() - begun;
      if (tookMs > 30) await wait(tookMs * 3);
      this.frame = 0;
      if (tookMs > 30 && room.turn) this.soon(room);
    });
  }

  follow() {
    if (this.isAtEnd) this.scroller.scrollTop = this.scroller.scrollHeight;
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    this.jump.hidden = scrollHeight - scrollTop - clientHeight < AT_END_PX;
  }

  toEnd() {
    this.isAtEnd = true;
    this.follow();
    this.composer.area.focus({ preventScroll: true });
  }

  /** Cost and time are in the gateway's record of the call, which is written a moment after its end. */
  async fetchFigures(view, firstAfterMs = 0) {
    const { request_id: id, isStreaming } = view.message;
    const known = this.figures.get(id) ?? {};
    if (!id || isStreaming || known.call || known.isAsked) return;
    this.figures.set(id, { ...known, isAsked: true });
    for (const pause of [firstAfterMs, ...FIGURES_AGAIN_MS]) {
      await wait(pause);
      try {
        const found = await call("GET", `/api/requests/${encodeURIComponent(id)}`);
        this.figures.set(id, { ...known, call: found });
        showFigures(this.views.get(view.message.id) ?? view, known.usage, found);
        return;
      } catch (error) {
        if (error.status !== 404) break;
      }
    }
    this.figures.set(id, known);
  }
}

function welcome() {
  return h("div", { class: "welcome" }, h("p", {}, h("strong", {}, "What would you like to ask?")),
    h("p", { class: "quiet" }, h("kbd", {}, "Enter"), " sends, ", h("kbd", {}, "Shift+Enter"), " begins a line, ",
      h("kbd", {}, "Esc"), " stops an answer, ", h("kbd", {}, "Ctrl+K"), " begins a new chat."));
}

customElements.define("dragoman-chat", Chat);
export default Chat;
