/* The screen of all ways into the gateway: one question, one key, and a card for each way. */
import { call, currentKey, origin, session } from "./api.js";
import { DialectCard } from "./dialect_card.js";
import { ways } from "./dialect_list.js";
import { Screen, button, copyButton, field, fill, format, h, say, troubleBox } from "./elements.js";

const KEY_CHARACTERS = /^[\x21-\x7e]*$/;
const FOLLOW_MS = 20_000;
const NOTHING_LISTENS = { websocket: null, grpc: null, is_secure: false };

/** Make a key to paste; operators make it under the administration, others below their own key. */
async function makeKey() {
  const path = session.role === "admin" ? "/api/admin/keys" : "/api/keys";
  return (await call("POST", path, { body: { name: "page examples" } })).secret;
}

class DialectsScreen extends Screen {
  async show(rest) {
    super.hide();
    if (!this.cards) this.build();
    // The page's own key is renewed by itself; what is shown follows.
    this.every(FOLLOW_MS, () => this.follow());
    await this.learn().catch((error) => this.complain(error));
    const card = this.cards.find((one) => one.way.id === rest);
    card?.scrollIntoView();
    card?.querySelector("h3").focus({ preventScroll: true });
  }

  hide() {
    super.hide();
    for (const card of this.cards ?? []) card.running?.abort();
  }

  build() {
    this.world = {
      listeners: NOTHING_LISTENS, key: "", isShown: false, other: "",
      context: () => ({
        text: this.question.value, model: this.model.value, listeners: this.world.listeners,
        origin, host: new URL(origin).hostname,
      }),
      freshKey: async () => this.world.other || currentKey(),
      use: (key, words) => this.use(key, words),
    };
    this.cards = ways.map((way) => document.createElement("dragoman-dialect").prepare(way, this.world));
    this.addEventListener("ask-on", ({ target, detail }) => this.askOn(target.way, detail));
    const systems = [...new Set(ways.map(({ system }) => system))];
    const side = h("aside", { class: "column", "aria-label": "What is asked" }, h("h1", {}, "Dialects"),
      h("p", { class: "quiet" }, "Every way into this gateway: paste the request for your question, or try it here."),
      this.bench(), this.contents(systems));
    const main = systems.map((system) => [h("h2", {}, system), this.cards.filter(({ way }) => way.system === system)]);
    fill(this, h("div", { class: "ways" }, side, h("div", { class: "column cards" }, main)));
  }

  /** The question, the model and the key of all cards. */
  bench() {
    const redraw = { on: { input: () => this.draw() } };
    this.question = h("textarea", { rows: "3", value: "Hello!", dir: "auto", ...redraw });
    this.model = h("select", redraw, h("option", { value: "" }, "default"));
    const typed = { on: { input: () => this.use(this.other.value.trim(), "The key that you gave.") } };
    const secret = { type: "password", autocomplete: "off", spellcheck: "false" };
    this.other = h("input", { ...secret, placeholder: "the page’s own", ...typed });
    const shown = (event) => { this.world.isShown = event.target.checked; this.draw(); };
    const showing = h("label", { class: "row" }, h("input", { type: "checkbox", on: { change: shown } }), "show keys");
    this.about = h("span", { class: "quiet", role: "status" });
    const make = button("Make a key for these examples", () => this.make());
    const copy = copyButton(() => this.world.freshKey(), "Copy key");
    return [field("Question", this.question), field("Model", this.model), field("Another key", this.other), make,
      h("div", { class: "row between" }, showing, copy), this.about];
  }

  contents(systems) {
    const links = (system) => ways.filter((way) => way.system === system)
      .map(({ id, title }) => h("li", {}, h("a", { href: `#/dialects/${id}` }, title)));
    const lists = systems.map((system) => [h("strong", {}, system), h("ul", {}, links(system))]);
    const isOpen = !matchMedia("(max-width: 760px)").matches;
    const all = h("details", { open: isOpen }, h("summary", {}, "All ways in"), lists);
    return h("nav", { class: "contents", "aria-label": "Ways in" }, all);
  }

  async make() {
    try {
      this.use(await makeKey(), "Made for these examples, named “page examples”. It is kept in this tab only.");
      say("The key is in the examples.", "good");
    } catch (error) {
      fill(this.about, troubleBox(error));
    }
  }

  /** Take a key for all examples; "" is the page's own again. */
  use(key, words) {
    const isKey = KEY_CHARACTERS.test(key);
    this.world.other = isKey ? key : "";
    this.other.value = key;
    this.words = isKey ? words : "This is no key: keys have plain letters, digits and signs. The page’s own is used.";
    this.follow();
  }

  /** Have the examples show the key that is valid now. */
  async follow() {
    const { other } = this.world;
    const key = other || await currentKey();
    await this.learn();
    const until = `The page’s own key, good until ${format.time(session.token?.expires)}; the page renews it.`;
    this.about.textContent = other || this.other.value ? this.words : until;
    if (key === this.world.key) return;
    this.world.key = key;
    this.draw();
  }

  /** Ask where the gateway listens and what its models are, once for each who logs in. */
  async learn() {
    if (this.knownTo === session.principal) return;
    const [listeners, models] = await Promise.all([call("GET", "/api/listeners"), call("GET", "/v1/models")]);
    this.world.listeners = listeners;
    // The two that must name a model have none to fall back on.
    const names = models.data.map(({ id }) => h("option", { value: id }, id));
    fill(this.model, names.length ? names : h("option", { value: "" }, "no model"));
    this.knownTo = session.principal;
    for (const card of this.cards) card.arrange();
  }

  draw() {
    if (this.knownTo) for (const card of this.cards) card.draw();
  }

  askOn(from, ids) {
    const family = (way) => way.family ?? way.id;
    for (const card of this.cards) if (family(card.way) === family(from)) card.goOn(ids);
  }
}

customElements.define("dragoman-dialect", DialectCard);
customElements.define("dragoman-dialects", DialectsScreen);
