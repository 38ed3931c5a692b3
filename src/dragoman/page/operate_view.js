// What the tabs of the operator have in common: how they are read, redrawn, turned by pages and written.
import { call } from "./api.js";
import { button, h, say } from "./elements.js";

const PATIENCE_MS = 10_000;
const SIGNS = { good: "✓", warn: "!", bad: "✕" };

/** Read a path of the gateway. One that hangs is as good as none. */
export const read = (path, query = {}) => call("GET", path, { query, signal: AbortSignal.timeout(PATIENCE_MS) });

/** Read all pages of a list; `name` is that of its rows. */
export async function readAll(path, name, query = {}) {
  const rows = [];
  let after = null;
  do {
    const page = await read(path, { ...query, after });
    rows.push(...page[name]);
    after = page.next;
  } while (after);
  return rows;
}

/** A function that reads and draws; what was asked for before is not drawn after what was asked for last. */
export function newest(reading, draw) {
  let latest = 0;
  return async () => {
    latest += 1;
    const mine = latest;
    const found = await reading();
    if (mine === latest) draw(found);
  };
}

/** Say that what somebody wanted did not work. */
export const failed = (error) => say(error.message, "bad");

/**
 * Make a place show `children`. What looks the same stays where it is, so that a press, a selection and the scroll
 * survive; the focus goes to what has the same name. A button must therefore show, or have as data, what it works on.
 */
export function redraw(place, ...children) {
  const held = place.contains(document.activeElement) ? document.activeElement : null;
  const fresh = place.cloneNode(false);
  fresh.append(...children.flat(Infinity).filter(Boolean));
  settle(place, fresh);
  if (!held || held.isConnected) return;
  [...place.querySelectorAll("a, button, [tabindex]")].find((node) => nameOf(node) === nameOf(held))?.focus();
}

const nameOf = (node) => node.getAttribute("href") ?? node.getAttribute("aria-label") ?? node.textContent;

function settle(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (!old.cloneNode(false).isEqualNode(fresh.cloneNode(false))) return old.replaceWith(fresh);
  const parts = [...old.childNodes], others = [...fresh.childNodes];
  others.forEach((other, place) => (parts[place] ? settle(parts[place], other) : old.append(other)));
  for (const part of parts.slice(others.length)) part.remove();
}

/** Where a list stands that is read page by page: the cursor `after()` which its page begins, and buttons to turn. */
export function paging(load) {
  let next = null;
  const cursors = [null];
  const turn = (change) => () => { change(); load().catch(failed); };
  const back = turn(() => cursors.pop());
  const on = turn(() => cursors.push(next));
  return {
    after: () => cursors.at(-1),
    restart: turn(() => { cursors.length = 1; }),
    buttons(following) {
      next = following;
      return h("div", { class: "row end" }, cursors.length > 1 && button("Back", back, { icon: "left" }),
        next && button("Next", on, { icon: "right" }));
    },
  };
}

/** A state as a word with a sign and a colour: whoever sees no colours misses nothing. */
export function mark(kind, word) {
  return h("span", { class: `tag ${kind}` }, h("span", { "aria-hidden": "true" }, `${SIGNS[kind]} `), word);
}

/** Text of a machine: names of models, ends of credentials. */
export const mono = (text) => h("span", { class: "mono" }, text);

/** Text that says less than the rest. */
export const quiet = (text) => h("span", { class: "quiet" }, text);

/** Values with their names, `[[name, value]]`. */
export function facts(pairs, kind = "") {
  const fact = ([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  return h("dl", { class: `facts ${kind}` }, pairs.map(fact));
}

/** What can be chosen, `{value: word}`. */
export const options = (words) => Object.entries(words).map(([value, word]) => h("option", { value }, word));

/** A choice; after a reload it is not what the browser remembers of it. */
export function select(words, value, attributes = {}) {
  const node = h("select", { autocomplete: "off", ...attributes }, options(words));
  if (value !== undefined) node.value = value;
  return node;
}

/** A function that learns what the keys among some principals are called, and returns how to write a principal. */
export function naming() {
  const names = new Map();
  return async (principals) => {
    const unknown = principals.filter((each) => each.startsWith("key:") && !names.has(each));
    if (unknown.length) {
      const keys = await readAll("/api/admin/keys", "keys", { limit: 250 });
      // A key that is gone has no name any more.
      for (const each of unknown) names.set(each, each);
      for (const { id, name, last_four: tail } of keys) names.set(`key:${id}`, name || `…${tail}`);
    }
    return (principal) => names.get(principal) ?? principal;
  };
}
