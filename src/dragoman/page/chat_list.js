// The conversations at the side: the latest first, more of them as one scrolls, found by their titles.
import { call, openStream } from "./api.js";
import { ask, button, field, fill, h, icon, say, troubleBox } from "./elements.js";

const PAGE = 30;
const SEARCH_AFTER_MS = 250;

/** The list. `begin` starts a new chat, `gone(id)` and `renamed(id, title)` tell what happened to a conversation. */
export function conversationList({ begin, gone, renamed }) {
  const own = { rows: [], next: null, query: "", current: "", reading: 0 };
  const list = h("ul", { class: "conversations" });
  const more = h("div", { class: "more quiet" });
  const search = h("input", { type: "search", placeholder: "Search", "aria-label": "Search conversations" });
  const fresh = button("New chat", begin, { icon: "plus", kind: "primary", title: "New chat (Ctrl+K or Alt+N)" });
  own.node = h("aside", { class: "side chats", "aria-label": "Conversations" }, fresh, search, list, more);
  const draw = () => {
    fill(list, own.rows.map((row) => entry(row, own.current, { draw, gone: left, renamed: told })));
    const none = own.query ? "No title has this." : "Your conversations will be here.";
    fill(more, own.next ? "More…" : own.rows.length ? null : none);
  };
  const left = (row) => { own.rows = own.rows.filter((other) => other !== row); draw(); gone(row.id); };
  const told = (row) => { draw(); renamed(row.id, row.title); };
  const read = async (before) => {
    const turn = ++own.reading;
    const page = await call("GET", "/api/conversations", { query: { limit: PAGE, before, q: own.query } });
    // An answer to an older question came last.
    if (turn !== own.reading) return;
    const known = new Set(page.conversations.map((row) => row.id));
    const others = own.rows.filter((row) => !known.has(row.id));
    own.rows = before ? [...others, ...page.conversations] : own.query ? page.conversations : [...page.conversations, ...others];
    if (before || own.query || !others.length) own.next = page.next;
    draw();
  };
  own.refresh = () => read("").catch((error) => fill(more, troubleBox(error, { retry: own.refresh })));
  own.select = (id) => { own.current = id; draw(); };
  let timer = 0;
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => { Object.assign(own, { query: search.value.trim(), rows: [], next: null }); own.refresh(); }, SEARCH_AFTER_MS);
  });
  new IntersectionObserver(([seen]) => {
    if (seen.isIntersecting && own.next) read(own.next).catch((error) => fill(more, troubleBox(error, { retry: own.refresh })));
  }, { root: own.node, rootMargin: "200px" }).observe(more);
  return own;
}

function entry(row, current, events) {
  const title = h("a", { href: `#/chat/${row.id}`, title: row.title, dir: "auto", "aria-current": row.id === current ? "page" : false }, row.title);
  const act = (name, does, label) => button("", () => does(row, events), { icon: name, kind: "quiet", title: `${label} “${row.title}”` });
  return h("li", {}, title, h("span", { class: "acts" }, act("edit", rename, "Rename"), act("export", save, "Export"), act("trash", remove, "Delete")));
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
  const form = h("select", {}, h("option", { value: "markdown" }, "Markdown: to read"), h("option", { value: "json" }, "JSON: everything, with all branches"));
  ask({ title: "Export this conversation", body: field("Format", form), submit: "Export", async onsubmit() {
    // The key is in a header, so that no link could fetch it.
    const response = await openStream(`/api/conversations/${row.id}/export?format=${form.value}`, { method: "GET" });
    const href = URL.createObjectURL(await response.blob());
    const name = `conversation-${row.id}.${form.value === "json" ? "json" : "md"}`;
    h("a", { href, download: name }, icon("export")).click();
    setTimeout(() => URL.revokeObjectURL(href), 60_000);
    say(`Saved as ${name}.`, "good");
  } });
}
