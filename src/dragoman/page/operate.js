// The screen of whoever runs the gateway. A tab is `{node, load, everyMs}`: what is seen, how it is read, how often.
import { session, trouble } from "./api.js";
import { Screen, fill, format, h } from "./elements.js";
import keys from "./operate_keys.js";
import pool from "./operate_pool.js";
import requests, { story } from "./operate_requests.js";
import settings from "./operate_settings.js";
import spend from "./operate_spend.js";
import users from "./operate_users.js";

const TABS = {
  pool: ["Pool", pool], requests: ["Requests", requests, story], spend: ["Spend", spend], keys: ["Keys", keys],
  users: ["Users", users], settings: ["Settings", settings],
};
const FOR_OTHERS = "This is for operators: log in with a key of the role admin, or by the link of the start.";

class OperateScreen extends Screen {
  opened = new Map(); // A tab is made once: its filters stay as they were.
  title = h("h1", { class: "screen-title" });
  navigation = h("nav", { class: "tabs", "aria-label": "Operate" });
  place = h("div", { class: "tab-body" });
  status = h("p", { class: "quiet updated" });

  async show(rest) {
    this.hide();
    if (session.role !== "admin") {
      fill(this, h("div", { class: "page" }, h("h1", {}, "Operate"), h("p", {}, FOR_OTHERS)));
      return;
    }
    const [wanted, id] = rest.split("/", 2);
    const name = Object.hasOwn(TABS, wanted) ? wanted : "pool";
    const [title, list, one] = TABS[name];
    if (!this.opened.has(name)) this.opened.set(name, list());
    const view = id && one ? one(decodeURIComponent(id)) : this.opened.get(name);
    this.frame(name, title, view.node);
    let seen = "";
    this.every(view.everyMs, async () => {
      seen = await this.read(view.load, seen);
    });
  }

  /** Put a view under the tabs; what is there already keeps the focus. */
  frame(name, title, node) {
    if (!this.contains(this.place)) {
      fill(this, h("div", { class: "page" }, this.title, this.navigation, this.place, this.status));
      const link = ([each, [words]]) => h("a", { href: `#/operate/${each}` }, words);
      fill(this.navigation, Object.entries(TABS).map(link));
    }
    this.trouble?.remove();
    this.place.classList.remove("stale");
    fill(this.title, `Operate: ${title}`);
    fill(this.status, "Asking …");
    for (const link of this.navigation.children) {
      if (link.hash === `#/operate/${name}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (this.place.firstChild !== node) fill(this.place, node);
    node.querySelector("a.back")?.focus();
  }

  /** Read a view; when that fails the last picture stays, in grey. Returns when it was seen last. */
  async read(load, seen) {
    try {
      await load();
      this.place.classList.remove("stale");
      const now = format.time(Date.now() / 1000);
      fill(this.status, `Updated ${now}.`);
      return now;
    } catch (error) {
      this.place.classList.add("stale");
      const what = trouble(error).status ? "Not updated" : "No connection";
      fill(this.status, what, seen ? ` since ${seen}.` : ".");
      throw error;
    }
  }
}

customElements.define("dragoman-operate", OperateScreen);
export default OperateScreen;
