// The screen of conversations: the list at the side, the thread, and where the next question is written.
import { call, trouble } from "./api.js";
import { button, fill, h, Screen } from "./elements.js";
import { composer } from "./chat_composer.js";
import { conversationList } from "./chat_list.js";
import { messageView, picturesOf } from "./chat_message.js";
import { childrenByParent, messageOf, newestLeaf, pathTo, refreshed } from "./chat_tree.js";
import { extend, listen, newMessages, pause, questionOf } from "./chat_turn.js";

const AT_END_PX = 60;
const FRAME_MS = 16;
const SETTLE_MS = 700;

const leafKey = (id) => `dragoman-leaf-${id}`;

/** A conversation as it is shown: its tree, the end of the branch that is read, and the turn that is under way. */
function roomOf(id) {
  return { id, tree: { root: null, messages: [] }, leaf: sessionStorage.getItem(leafKey(id)), title: "", turn: null };
}

class Chat extends Screen {
  /** The rooms in which an answer is under way, by the ids of their conversations. */
  underWay = new Map();
  views = new WeakMap();
  isAtEnd = true;

  async show(rest) {
    if (!this.list) this.build();
    // Back from another screen one finds what one left.
    const id = decodeURIComponent(rest) || this.left || "";
    this.left = "";
    if (id !== rest) history.replaceState(null, "", `#/chat/${id}`);
    if (this.room?.id !== id) this.enter(id);
    await this.recover();
  }

  hide() {
    super.hide();
    this.left = this.room?.id;
  }

  build() {
    const begin = () => this.begin();
    const gone = (id) => this.room.id === id && begin();
    this.list = conversationList({ begin, gone, renamed: (id, title) => this.retitle(id, title) });
    this.composer = composer({ send: () => this.send(), stop: () => this.room.turn?.abort() });
    this.heading = h("h1", { dir: "auto" });
    this.thread = h("div", { class: "thread" });
    this.scroller = h("div", { class: "thread-scroll", tabindex: "-1" }, this.thread);
    this.live = h("div", { class: "offscreen", role: "status" });
    const menu = button("", () => this.drawer(), { icon: "menu", kind: "quiet drawer-button", title: "Conversations" });
    const main = h("section", { class: "main chat", "aria-label": "Conversation" },
      h("div", { class: "chat-head row" }, menu, this.heading), this.scroller, this.composer.node, this.live);
    this.append(h("div", { class: "split" }, this.list.node, main));
    this.watch();
  }

  watch() {
    this.scroller.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.scroller;
      this.isAtEnd = scrollHeight - scrollTop - clientHeight < AT_END_PX;
    });
    new ResizeObserver(() => this.follow()).observe(this.thread);
    this.scroller.addEventListener("pointerdown", () => this.drawer(false));
    addEventListener("keydown", (event) => {
      if (!this.hidden && !document.querySelector("dialog[open]")) this.shortcut(event);
    });
    addEventListener("dragoman:back", () => this.room && !this.hidden && this.recover());
  }

  shortcut(event) {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      this.begin();
    } else if (event.key === "Escape" && this.list.node.classList.contains("open")) this.drawer(false);
    else if (event.key === "Escape") this.room.turn?.abort();
  }

  drawer(isOpen) {
    const side = this.list.node;
    if (side.classList.toggle("open", isOpen)) side.querySelector("button").focus();
  }

  // --- which conversation

  begin() {
    this.drawer(false);
    if (this.room.id) location.hash = "#/chat";
    this.composer.area.focus();
  }

  enter(id) {
    this.room = this.underWay.get(id) ?? roomOf(id);
    this.trouble?.remove();
    this.composer.open(id);
    this.composer.busy(Boolean(this.room.turn));
    this.list.select(id);
    this.drawer(false);
    this.toEnd();
    this.composer.area.focus({ preventScroll: true });
  }

  retitle(id, title) {
    if (this.room.id === id) this.room.title = title;
    this.draw();
  }

  /** Ask for everything again: on arrival, and when the gateway is back. */
  async recover() {
    this.composer.complain(null);
    this.list.refresh();
    this.composer.loadModels().catch((error) => this.complain(error));
    await this.read(this.room);
  }

  /** The tree is the gateway's; it is asked for again while an answer is under way elsewhere. */
  async read(room) {
    if (!room.id || room.turn) return;
    let found;
    try {
      found = await call("GET", `/api/conversations/${encodeURIComponent(room.id)}`);
    } catch (error) {
      if (this.room === room) this.complain(error);
      return;
    }
    if (room.turn) return;
    room.tree = refreshed(room.tree, found);
    room.title = found.title;
    room.leaf = newestLeaf(room.tree, messageOf(found, room.leaf) ? room.leaf : found.current);
    if (room !== this.room) return;
    this.draw();
    const isPending = messageOf(found, room.leaf)?.state === "pending";
    if (isPending && !this.hidden) this.timers.add(setTimeout(() => this.room === room && this.read(room), SETTLE_MS));
  }

  // --- what a person does

  /** A question follows an answer; one that was never answered has the next beside it. */
  send() {
    const { room } = this;
    const pictures = this.composer.pictures();
    const text = this.composer.area.value;
    if (room.turn || (!text.trim() && !pictures.length)) return;
    const last = pathTo(room.tree, room.leaf).findLast((message) => message.role === "assistant");
    this.turn({ parent: last?.id ?? room.tree.root, ...questionOf(text, pictures), isDraft: true });
  }

  edit(message, text, done) {
    this.turn({ parent: message.parent, ...questionOf(text, picturesOf(message)), done });
  }

  regenerate(message) {
    this.turn({ parent: message.role === "user" ? message.id : message.parent });
  }

  giveResults(message, results) {
    const content = results.map(({ id, text }) => ({ type: "tool_result", tool_call_id: id, content: text }));
    const parts = results.map(({ id, text }) => ({ type: "tool_result", id, parts: [{ type: "text", text }] }));
    this.turn({ parent: message.id, content, shown: { content: "", parts } });
  }

  branch(to, step) {
    const { room } = this;
    room.leaf = newestLeaf(room.tree, to.id);
    this.isAtEnd = false;
    this.draw();
    const { node } = this.viewOf(to);
    const arrow = node.querySelector(`[data-step="${step}"]:enabled`) ?? node.querySelector("[data-step]:enabled");
    arrow.focus();
  }

  // --- a question and its answer

  async turn(asked) {
    const { room } = this;
    const settings = room.turn ? null : this.composer.settings();
    if (!settings) return;
    const controller = new AbortController();
    const messages = newMessages(asked, settings.model);
    const answer = messages.at(-1);
    const draft = asked.isDraft ? this.composer.take() : null;
    room.turn = { ...asked, messages, answer, draft, before: room.leaf, abort: () => controller.abort() };
    room.tree.messages.push(...messages);
    room.leaf = answer.id;
    this.composer.complain(null);
    this.composer.busy(true);
    this.toEnd();
    const { content, parent } = asked;
    const body = { ...settings, content, parent_id: parent ?? undefined, conversation_id: room.id || undefined };
    try {
      await listen(body, controller.signal, (event) => this.take(room, event));
      answer.state = "complete";
    } catch (error) {
      this.failed(room, trouble(error));
    }
    await this.endTurn(room);
  }

  take(room, event) {
    extend(room.turn.messages, event);
    if (event.type === "begin") this.begun(room, event);
    else if (room === this.room) this.soon(room);
  }

  /** The gateway has saved the question: what was typed is safe. */
  begun(room, event) {
    const { draft, done } = room.turn;
    const isNew = !room.id;
    if (draft) this.composer.saved(room.id, event.conversation_id);
    done?.();
    room.id = event.conversation_id;
    room.tree.root ??= event.parent_id;
    room.leaf = event.message_id;
    this.underWay.set(room.id, room);
    if (isNew) this.list.refresh();
    if (room !== this.room) return;
    if (isNew && !this.hidden) history.replaceState(null, "", `#/chat/${room.id}`);
    this.list.select(room.id);
    this.draw();
  }

  /** An answer that began keeps what had arrived; else all is as it was, and what was typed is there again. */
  failed(room, error) {
    const { answer, before, draft, messages } = room.turn;
    const isStopped = error.kind === "stopped";
    if (answer.request_id) {
      Object.assign(answer, isStopped ? { state: "cancelled" } : { state: "broken", trouble: error });
      return;
    }
    room.tree.messages = room.tree.messages.filter((message) => !messages.includes(message));
    room.leaf = before;
    if (draft) this.composer.giveBack(room.id, draft);
    if (room === this.room && !isStopped) this.composer.complain(error);
  }

  async endTurn(room) {
    const { answer } = room.turn;
    room.turn = null;
    this.underWay.delete(room.id);
    this.list.refresh();
    if (room === this.room) {
      this.composer.busy(false);
      fill(this.live, answer.state === "complete" ? "Answer complete." : "The answer has ended early.");
      this.draw();
      if (!this.hidden && !this.contains(document.activeElement)) this.composer.area.focus({ preventScroll: true });
    }
    await this.read(room);
  }

  // --- what is seen

  viewOf(message) {
    if (!this.views.has(message)) this.views.set(message, messageView(message, this));
    return this.views.get(message);
  }

  draw() {
    const { room } = this;
    if (room.id && room.leaf) sessionStorage.setItem(leafKey(room.id), room.leaf);
    const children = childrenByParent(room.tree);
    const nodes = pathTo(room.tree, room.leaf).map((message) => {
      const view = this.viewOf(message);
      view.update();
      view.place({ siblings: children.get(message.parent), isLast: message.id === room.leaf });
      return view.node;
    });
    if (!nodes.length && !room.id) nodes.push(welcome());
    fill(this.heading, room.title || (room.id ? "Conversation" : "New chat"));
    const there = this.thread.childNodes;
    // Putting back what is there would take its focus and its selection away.
    if (nodes.length !== there.length || nodes.some((node, at) => node !== there[at])) fill(this.thread, nodes);
    this.follow();
  }

  /** Draw the answer that grows: at most once a frame, and more seldom when drawing is slow. */
  async soon(room) {
    this.isStale = true;
    if (this.isDrawing) return;
    this.isDrawing = true;
    while (this.isStale && room === this.room && room.turn) {
      this.isStale = false;
      const beganMs = performance.now();
      this.viewOf(room.turn.answer).update();
      this.follow();
      await pause(Math.max(FRAME_MS, 3 * (performance.now() - beganMs)));
    }
    this.isDrawing = false;
  }

  follow() {
    // What somebody writes in the thread stays in sight.
    const isWriting = this.thread.querySelector("textarea:focus") !== null;
    if (this.isAtEnd && !isWriting) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  toEnd() {
    this.isAtEnd = true;
    this.draw();
  }
}

function welcome() {
  const keys = { Enter: "sends", "Shift+Enter": "begins a line", Esc: "stops", "Ctrl+K": "begins a new chat" };
  const key = ([name, does]) => h("span", {}, h("kbd", {}, name), ` ${does}`);
  return h("div", { class: "welcome" }, h("p", {}, h("strong", {}, "What would you like to ask?")),
    h("p", { class: "row quiet" }, Object.entries(keys).map(key)));
}

customElements.define("dragoman-chat", Chat);
export default Chat;
