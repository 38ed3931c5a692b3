// The conversations at the side: the latest first, more of them as one scrolls, found by their titles.
import { call, openStream } from "./api.js";
import { ask, button, field, fill, h, say, troubleBox } from "./elements.js";

const PAGE = 30;
const MOST = 100;
const SEARCH_AFTER_MS = 250;

/** The list. `begin` starts a new chat, `gone(id)` and `renamed(id, title)` tell what happened to a conversation. */
export function conversationList({ begin, gone, renamed }) {
  let rows = [], next = null, current = "", reading = 0, timer = 0;
  const list = h("ul", { class: "conversations" });
  const more = h("div", { class: "more quiet" });
  const search = h("input", { type: "search", placeholder: "Search", "aria-label": "Search conversations" });
  const fresh = button("New chat", begin, { icon: "plus", kind: "primary", title: "New chat (Ctrl+K)" });
  const node = h("aside", { class: "side chats", "aria-label": "Conversations" }, fresh, search, list, more);
  const changed = {
    gone(row) { rows = rows.filter((other) => other !== row); draw(); gone(row.id); },
    renamed(row) { draw(); renamed(row.id, row.title); },
  };
  const draw = () => {
    fill(list, rows.map((row) => entry(row, row.id === current, changed)));
    const none = search.value ? "No title has this." : "Your conversations will be here.";
    fill(more, next ? "More…" : rows.length ? null : none);
  };
  const read = async (before, limit) => {
    const turn = ++reading;
    try {
      const page = await call("GET", "/api/conversations", { query: { limit, before, q: search.value.trim() } });
      // An answer to an older question came last.
      if (turn !== reading) return;
      rows = before ? [...rows, ...page.conversations] : page.conversations;
      next = page.next;
      draw();
    } catch (error) {
      fill(more, troubleBox(error, { retry: refresh }));
    }
  };
  const refresh = () => read("", Math.min(MOST, Math.max(PAGE, rows.length)));
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => read("", PAGE), SEARCH_AFTER_MS);
  });
  const further = ([seen]) => seen.isIntersecting && next && read(next, PAGE);
  new IntersectionObserver(further, { root: node, rootMargin: "200px" }).observe(more);
  return { node, refresh, select(id) { current = id; draw(); } };
}

function entry(row, isCurrent, changed) {
  const props = { href: `#/chat/${row.id}`, title: row.title, dir: "auto", "aria-current": isCurrent ? "page" : false };
  const act = (icon, does, label) => {
    return button("", () => does(row, changed), { icon, kind: "quiet", title: `${label} “${row.title}”` });
  };
  const acts = [act("edit", rename, "Rename"), act("export", save, "Export"), act("trash", remove, "Delete")];
  return h("li", {}, h("a", props, row.title), h("span", { class: "acts" }, acts));
}

function rename(row, { renamed }) {
  const title = h("input", { value: row.title, maxlength: "200", dir: "auto" });
  ask({ title: "Rename this conversation", body: field("Title", title), async onsubmit() {
    row.title = (await call("PATCH", `/api/conversations/${row.id}`, { body: { title: title.value } })).title;
    renamed(row);
  } });
  title.select();
}

function remove(row, { gone }) {
  const body = h("p", {}, `“${row.title}” and all its answers are deleted. This cannot be undone.`);
  ask({ title: "Delete this conversation?", body, submit: "Delete", danger: true, async onsubmit() {
    await call("DELETE", `/api/conversations/${row.id}`);
    gone(row);
  } });
}

function save(row) {
  const forms = { markdown: "Markdown: to read", json: "JSON: everything, with all branches" };
  const form = h("select", {}, Object.entries(forms).map(([value, label]) => h("option", { value }, label)));
  ask({ title: "Export this conversation", body: field("Format", form), submit: "Export", async onsubmit() {
    // The key is in a header, so that no link could fetch it.
    const response = await openStream(`/api/conversations/${row.id}/export?format=${form.value}`, { method: "GET" });
    const href = URL.createObjectURL(await response.blob());
    const name = `conversation-${row.id}.${form.value === "json" ? "json" : "md"}`;
    h("a", { href, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60_000);
    say(`Saved as ${name}.`, "good");
  } });
}
