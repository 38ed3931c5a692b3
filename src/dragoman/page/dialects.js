/* The screen of all ways into the gateway: one question, one key, and a card for each way. */
import { call, currentKey, origin, session } from "./api.js";
import { DialectCard } from "./dialect_card.js";
import { systems } from "./dialect_list.js";
import { Screen, button, copyButton, field, fill, format, h, say, troubleBox } from "./elements.js";

const FOLLOW_MS = 20_000;
const KEY_CHARACTERS = /^[\x21-\x7e]*$/;

class DialectsScreen extends Screen {
  async show(rest) {
    super.hide();
    let wanted = rest;
    // The page's own key is renewed by itself; what is shown follows.
    this.every(FOLLOW_MS, async () => {
      if (this.builtFor !== session.principal) await this.build();
      await this.draw();
      const card = this.querySelector(`#dialect-${CSS.escape(wanted)}`);
      card?.scrollIntoView();
      card?.querySelector("h3").focus({ preventScroll: true });
      wanted = "";
    });
  }

  hide() {
    super.hide();
    for (const card of this.cards ?? []) card.running?.abort();
  }

  /** Ask where the gateway listens and which models it has for who is logged in, and show the ways in. */
  async build() {
    const { principal } = session;
    const [listeners, models] = await Promise.all([call("GET", "/api/listeners"), call("GET", "/v1/models")]);
    Object.assign(this, { listeners, key: "", isShown: false });
    const side = h("aside", { class: "column", "aria-label": "What is asked" }, h("h1", {}, "Dialects"),
      h("p", { class: "quiet" }, "Every way into this gateway: paste the request for your question, or try it here."),
      this.boxes(models.data), this.keyBoxes(), this.contents());
    const card = (way) => document.createElement("dragoman-dialect").prepare(way, this);
    const main = Object.entries(systems).map(([system, ways]) => [h("h2", {}, system), ways.map(card)]);
    fill(this, h("div", { class: "ways" }, side, h("div", { class: "column cards" }, main)));
    this.cards = this.querySelectorAll("dragoman-dialect");
    this.builtFor = principal;
  }

  /** What all cards ask, and where: a conversation has the same ids in every dialect. */
  boxes(models) {
    const on = { input: () => this.redraw() };
    const id = { autocomplete: "off", spellcheck: "false", on };
    this.question = h("textarea", { rows: "3", value: "Hello!", dir: "auto", on });
    this.model = h("select", { on }, models.map((model) => h("option", {}, model.id)));
    this.conversation = h("input", { ...id, placeholder: "a new one" });
    this.parent = h("input", { ...id, placeholder: "the latest" });
    return [field("Question", this.question), field("Model", this.model),
      field("Conversation id", this.conversation), field("Parent message id", this.parent)];
  }

  keyBoxes() {
    const secret = { type: "password", autocomplete: "off", placeholder: "the page’s own" };
    this.other = h("input", { ...secret, on: { input: () => this.redraw() } });
    const shown = (event) => { this.isShown = event.target.checked; this.redraw(); };
    const showing = h("label", { class: "row" }, h("input", { type: "checkbox", on: { change: shown } }), "show keys");
    this.about = h("span", { class: "quiet", role: "status" });
    return [field("Another key", this.other), button("Make a key", () => this.make()),
      h("div", { class: "row between" }, showing, copyButton(() => this.freshKey(), "Copy key")), this.about];
  }

  contents() {
    const link = ({ id, title }) => h("li", {}, h("a", { href: `#/dialects/${id}` }, title));
    const lists = Object.entries(systems).map(([system, ways]) => [system, h("ul", {}, ways.map(link))]);
    return h("nav", { class: "contents quiet", "aria-label": "Ways in" }, lists);
  }

  /** What the cards ask. */
  asked() {
    const { question, model, conversation, parent, listeners } = this;
    const ids = { conversation: conversation.value.trim(), parent: parent.value.trim() };
    return { text: question.value, model: model.value, ...ids, listeners, origin, host: new URL(origin).hostname };
  }

  /** The key that is valid now: the one that was given, else the page's own. */
  async freshKey() {
    const given = this.other.value.trim();
    return given && KEY_CHARACTERS.test(given) ? given : currentKey();
  }

  async draw() {
    this.key = await this.freshKey();
    const given = this.other.value.trim();
    const own = `The page’s own key, good until ${format.time(session.token?.expires)}; the page renews it.`;
    const wrong = "This is no key: keys have plain letters, digits and signs. The page’s own is used.";
    this.about.textContent = !given ? own : given === this.key ? "The examples have the key above." : wrong;
    for (const card of this.cards) card.draw();
  }

  redraw() {
    this.draw().catch((error) => this.complain(error));
  }

  /** Make a key to paste; operators make it under the administration, others below their own key. */
  async make() {
    const path = session.role === "admin" ? "/api/admin/keys" : "/api/keys";
    try {
      this.use((await call("POST", path, { body: { name: "page examples" } })).secret);
      say("The key “page examples” is in the examples. It is kept in this tab only.", "good");
    } catch (error) {
      fill(this.about, troubleBox(error));
    }
  }

  /** Take a key for all examples. */
  use(key) {
    this.other.value = key;
    this.redraw();
  }

  /** Have all examples ask on in a conversation, by those of its ids that are told. */
  askOn({ conversation = this.conversation.value, parent = this.parent.value }) {
    this.conversation.value = conversation;
    this.parent.value = parent;
    this.redraw();
    this.question.focus();
  }
}

customElements.define("dragoman-dialect", DialectCard);
customElements.define("dragoman-dialects", DialectsScreen);
