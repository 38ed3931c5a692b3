// The screen of whoever runs the gateway. Each tab is a module of its own, loaded when it is opened first.
import { call, session, trouble } from "./api.js";
import { Screen, fill, h, troubleBox } from "./elements.js";

const TABS = new Map([
  ["pool", ["Pool", () => import("./operate_pool.js")]],
  ["requests", ["Requests", () => import("./operate_requests.js")]],
  ["spend", ["Spend", () => import("./operate_spend.js")]],
  ["keys", ["Keys", () => import("./operate_keys.js")]],
  ["users", ["Users", () => import("./operate_users.js")]],
  ["settings", ["Settings", () => import("./operate_settings.js")]],
]);
const SIGNS = { good: "✓", warn: "!", bad: "✕" };

/** A state as a word with a sign and a colour: whoever sees no colours misses nothing. */
export function mark(kind, word) {
  return h("span", { class: `tag ${kind}` }, h("span", { "aria-hidden": "true" }, `${SIGNS[kind]} `), word);
}

/** Text of a machine: names of models, ends of credentials. */
export const mono = (text) => h("span", { class: "mono" }, text);

/** Values with their names, `[[name, value]]`. */
export function facts(pairs, kind = "") {
  const fact = ([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  return h("dl", { class: `facts ${kind}` }, pairs.map(fact));
}

/** Read what keys are called, by what calls and sums know them by: `key:ID`. */
export async function namesOfKeys() {
  const names = new Map();
  let after = null;
  do {
    const page = await call("GET", "/api/admin/keys", { query: { limit: 250, after } });
    for (const { id, name, last_four: tail } of page.keys) names.set(`key:${id}`, name || `…${tail}`);
    after = page.next;
  } while (after && names.size < 2000);
  return names;
}

class OperateScreen extends Screen {
  /** True where an operator looks at it; the tabs are for nobody else. */
  get operator() {
    return session.role === "admin";
  }

  async show(rest) {
    if (!this.operator) {
      this.hide();
      const sentence = "This is for operators: log in with a key of the role admin, or by the link of the start.";
      fill(this, h("div", { class: "page" }, h("h1", {}, "Operate"), h("p", {}, sentence)));
      return;
    }
    const [wanted, detail = ""] = rest.split("/", 2);
    const name = TABS.has(wanted) ? wanted : "pool";
    if (!this.current?.isShown || this.current.name !== name) await this.open(name);
    this.current?.body?.showDetail?.(decodeURIComponent(detail));
  }

  hide() {
    super.hide();
    if (this.current) this.current.isShown = false;
  }

  async open(name) {
    this.hide();
    const current = { name, isShown: true, body: null };
    this.current = current;
    const place = h("div", { class: "tab-body" });
    const title = h("h1", { class: "screen-title" }, `Operate: ${TABS.get(name)[0]}`);
    fill(this, h("div", { class: "page" }, title, this.navigation(name), place));
    try {
      const { default: tab } = await TABS.get(name)[1]();
      if (this.current !== current || !current.isShown) return; // Somebody went on to another tab in the meantime.
      current.body = tab(this);
      fill(place, current.body);
    } catch (error) {
      fill(place, troubleBox(trouble(error), { retry: () => this.open(name) }));
    }
  }

  navigation(open) {
    const link = ([name, [title]]) =>
      h("a", { href: `#/operate/${name}`, "aria-current": name === open ? "page" : null }, title);
    return h("nav", { class: "tabs", "aria-label": "Operate" }, [...TABS].map(link));
  }
}

customElements.define("dragoman-operate", OperateScreen);
export default OperateScreen;
