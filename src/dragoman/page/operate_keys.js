// Keys: who may use what, what they spent of their budgets, and secrets that are shown once.
import { call, origin } from "./api.js";
import { ask, button, copyButton, fill, format, h, icon, say, table } from "./elements.js";
import * as forms from "./operate_form.js";

const PATH = "/api/admin/keys";
const POLL_MS = 2000;
const PAGE_ROWS = 100;
const UNITS = [["1", "seconds"], ["60", "minutes"], ["3600", "hours"]];
const ROLES = [["user", "User"], ["admin", "Operator"]];
const NEW = { name: "", owner: "", team: "", tags: [], role: "user", models: ["*"], dialects: ["*"], limits: {},
  budget: null, expires: null, keeps_content: false, priority: 0 };

const pathOf = (key) => `${PATH}/${encodeURIComponent(key.id)}`;
const nameOf = (key) => key.name || key.owner || key.principal;
const shownSecret = (key) => (key.prefix ? `${key.prefix}…${key.last_four}` : key.principal);

/** The tab: a list of keys, or one of them. It is read again every two seconds, for the budgets. */
export default function tab(screen) {
  const list = listOf();
  const node = h("div", { class: "column keys" });
  let view = null;
  node.showDetail = (id) => {
    view = id ? pageOf(id) : list;
    fill(node, view.node);
    view.load().catch((error) => screen.complain(error));
  };
  screen.every(POLL_MS, () => view?.load());
  return node;
}

// --- the list ---

function listOf() {
  const search = h("input", { type: "search", "aria-label": "Search this page", placeholder: "Name, owner, tag …" });
  const team = h("select", { "aria-label": "Team" }, h("option", { value: "" }, "All teams"));
  const rows = h("div");
  const state = { pages: [""], keys: [], next: null };
  const draw = () => redraw(rows, tableOf(state.keys, search.value), turning(state, load));
  const load = async () => {
    const query = { limit: PAGE_ROWS, team: team.value, after: state.pages.at(-1) };
    const found = await call("GET", PATH, { query });
    // Meanwhile another page or team may have been asked for: its answer comes by itself.
    if (query.team !== team.value || query.after !== state.pages.at(-1)) return;
    Object.assign(state, found);
    draw();
  };
  search.addEventListener("input", draw);
  team.addEventListener("change", () => { state.pages = [""]; load().catch(failed); });
  offerTeams(team).catch(failed);
  const add = () => edit(null).then(load).catch(failed);
  const create = button("New key", add, { icon: "plus", kind: "primary" });
  return { node: h("div", { class: "column" }, h("div", { class: "row" }, search, team, create), rows), load };
}

async function offerTeams(select) {
  const { teams } = await call("GET", "/api/admin/teams");
  select.append(...teams.map(({ name }) => h("option", { value: name }, name)));
}

const failed = (error) => say(error.message, "bad");

function fits(key, text) {
  const known = [key.name, key.owner, key.team, key.id, key.last_four, ...key.tags].join("\n").toLowerCase();
  return known.includes(text.trim().toLowerCase());
}

function tableOf(keys, text) {
  const columns = [
    { head: "Key", cell: (key) => [linkOf(key), h("div", { class: "quiet mono" }, shownSecret(key))] },
    { head: "Owner and team", cell: (key) => [key.owner || "–", h("div", { class: "quiet" }, key.team)] },
    { head: "Role", cell: roleOf },
    { head: "State", cell: tagOf },
    { head: "Limits", cell: (key) => forms.limitWords(key.limits) },
    { head: "Budget", cell: (key) => forms.budgetBar(key.budget) },
    { head: "Expires", cell: endOf },
    { head: "Tags", cell: tagsOf },
  ];
  const empty = text ? "No key on this page fits the search." : "There are no keys yet.";
  return table(columns, keys.filter((key) => fits(key, text)), { empty, caption: "Keys" });
}

const linkOf = (key) => h("a", { href: `#/operate/keys/${key.id}` }, nameOf(key));
const roleOf = (key) => (key.role === "admin" ? h("span", { class: "tag" }, "operator") : "user");
const endOf = (key) => (key.expires === null ? "never" : format.when(key.expires));

const tagsOf = (key) => (key.tags.length ? key.tags.map((each) => h("span", { class: "tag" }, each)) : "–");

function tagOf(key) {
  const nowS = Date.now() / 1000;
  if (key.disabled) return h("span", { class: "tag bad" }, "disabled");
  if (key.expires !== null && key.expires <= nowS) return h("span", { class: "tag bad" }, "expired");
  const left = key.overlap_until - nowS;
  const until = left < 3600 ? format.time : format.when;
  if (left > 0) return h("span", { class: "tag warn" }, `overlap until ${until(key.overlap_until)}`);
  return h("span", { class: "tag good" }, "active");
}

function turning(state, load) {
  const turn = (change) => () => { change(); load().catch(failed); };
  const back = state.pages.length > 1 ? button("Back", turn(() => state.pages.pop()), { icon: "left" }) : null;
  const on = state.next ? button("Next", turn(() => state.pages.push(state.next)), { icon: "right" }) : null;
  return back || on ? h("div", { class: "row end" }, back, on) : null;
}

/** Put new children in place of old ones that look different, and leave the focus on what bears the same name. */
export function redraw(node, ...children) {
  const fresh = h("div", { class: "column" }, ...children);
  if (node.firstElementChild?.isEqualNode(fresh)) return;
  const held = node.contains(document.activeElement) ? document.activeElement : null;
  const left = node.querySelector(".scroll")?.scrollLeft ?? 0;
  fill(node, fresh);
  if (fresh.querySelector(".scroll")) fresh.querySelector(".scroll").scrollLeft = left;
  const named = (each) => each.getAttribute("href") ?? each.getAttribute("aria-label") ?? each.textContent;
  if (held) [...fresh.querySelectorAll("a, button, [tabindex]")].find((each) => named(each) === named(held))?.focus();
}

// --- one key ---

function pageOf(id) {
  const place = h("div");
  const load = async () => draw(await call("GET", `${PATH}/${encodeURIComponent(id)}`));
  const draw = (key) => redraw(place, h("div", { class: "row" }, h("h2", {}, nameOf(key)), tagOf(key)),
    actionsOf(key, load), h("dl", { class: "card facts" }, factsOf(key)));
  const back = h("a", { class: "row", href: "#/operate/keys" }, icon("left"), "All keys");
  return { node: h("div", { class: "column" }, back, place), load };
}

function factsOf(key) {
  const facts = [
    ["Secret", h("span", { class: "mono" }, shownSecret(key))], ["Budget", forms.budgetBar(key.budget)],
    ["Limits", forms.limitWords(key.limits)], ["Owner", key.owner || "–"], ["Team", key.team || "–"],
    ["Role", roleOf(key)], ["Tags", tagsOf(key)], ["Models", key.models.join(", ")],
    ["Dialects", key.dialects.join(", ")], ["Expires", endOf(key)],
    ["Content is kept", key.keeps_content ? "yes" : "no"], ["Priority", String(key.priority)],
    ["Made", `${format.when(key.created)}${key.maker ? ` by the key ${key.maker}` : ""}`],
    ["Id", h("span", { class: "mono" }, key.id)],
  ];
  return facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)));
}

function actionsOf(key, load) {
  const doing = (work) => () => work().then(load).catch(failed);
  const toggle = () => call("PATCH", pathOf(key), { body: { disabled: !key.disabled } });
  const remove = () => drop(key).then((done) => { if (done) location.hash = "#/operate/keys"; }).catch(failed);
  return h("div", { class: "row" }, button("Edit", doing(() => edit(key)), { icon: "edit" }),
    button(key.disabled ? "Enable" : "Disable", doing(toggle), { icon: key.disabled ? "play" : "stop" }),
    key.prefix ? button("Rotate", doing(() => rotate(key)), { icon: "retry" }) : null,
    button("Delete", remove, { icon: "trash", kind: "danger" }));
}

/** Ask for what a key is to be; without a key, for a new one. Resolves to whether something was saved. */
async function edit(key) {
  const { teams } = await call("GET", "/api/admin/teams");
  const { node, read, send } = forms.form(fieldsOf(key ?? NEW, teams));
  const before = key ? read() : {};
  let made = null;
  const onsubmit = () => send(async () => {
    const body = forms.changes(before, read());
    made = key ? await call("PATCH", pathOf(key), { body }) : await call("POST", PATH, { body });
  });
  const title = key ? `Change ${nameOf(key)}` : "New key";
  const done = await ask({ title, body: node, submit: key ? "Save" : "Create", onsubmit });
  if (done && !key) await reveal(made);
  return done;
}

function fieldsOf(key, teams) {
  const named = [["", "None"], ...teams.map(({ name }) => [name, name])];
  return [
    ["Who", [forms.line("name", "Name", key.name), forms.line("owner", "Owner", key.owner),
      forms.choice("team", "Team", key.team, named), forms.choice("role", "Role", key.role, ROLES),
      forms.words("tags", "Tags", key.tags, { hint: "Labels in the usage figures, with commas between." })]],
    ["What", [forms.words("models", "Models", key.models, { empty: ["*"], hint: "Patterns such as gpt-*." }),
      forms.words("dialects", "Dialects", key.dialects, { empty: ["*"], hint: "Patterns of the ways in." }),
      forms.moment("expires", "Expires", key.expires, { hint: "Empty: never." }),
      forms.whole("priority", "Priority in a queue", key.priority, { empty: 0, pattern: "-?[0-9]{1,4}" }),
      forms.tick("keeps_content", "Keep what is said in the request log", key.keeps_content)]],
    ["Limits", forms.limitFields(key.limits)],
    ["Budget", forms.budgetFields(key.budget)],
  ];
}

async function rotate(key) {
  const amount = h("input", { type: "number", min: "0", step: "1", value: "10", required: true });
  const unit = forms.choice("unit", "Unit", "60", UNITS);
  const overlap = { name: "overlap_s", label: "The old secret goes on for", control: amount,
    hint: "At most 30 days; 0 ends it at once.", read: () => Number(amount.value) * Number(unit.read()) };
  const { node, read, send } = forms.form([["Overlap", [overlap, unit]]]);
  let fresh = null;
  const onsubmit = () => send(async () => {
    fresh = await call("POST", `${pathOf(key)}/rotate`, { body: { overlap_s: read().overlap_s } });
  });
  const done = await ask({ title: `A new secret for ${nameOf(key)}`, body: node, submit: "Rotate", onsubmit });
  if (done) await reveal(fresh);
}

/** Show a secret, this once, with a line that tries it. */
async function reveal({ secret, models }) {
  const plain = models.find((model) => !/[*?[]/.test(model));
  const model = plain ?? (await call("GET", "/v1/models").catch(() => null))?.data?.[0]?.id ?? "MODEL";
  const body = JSON.stringify({ model, messages: [{ role: "user", content: "Hello" }] }).replaceAll("'", "'\\''");
  const line = [`curl ${origin}/v1/chat/completions`, `-H 'Authorization: Bearer ${secret}'`,
    "-H 'Content-Type: application/json'", `-d '${body}'`].join(" \\\n  ");
  const shown = (text) => h("div", {}, h("pre", { class: "code", tabindex: "0" }, text), copyButton(text));
  const words = "Copy this secret now: it is kept nowhere and cannot be shown again.";
  const content = h("div", { class: "column" }, h("p", {}, words), shown(secret), h("p", {}, "Try it:"), shown(line));
  await ask({ title: "The new secret", body: content, submit: "Done", cancel: null });
}

async function drop(key) {
  const { keys } = await call("GET", PATH, { query: { maker: key.id, limit: PAGE_ROWS } });
  const children = keys.length ? ` So are the keys that it made: ${keys.map(nameOf).join(", ")}.` : "";
  const words = `Whoever uses ${shownSecret(key)} is refused at once.${children} Conversations and usage stay. `
    + "This cannot be undone; a disabled key can be enabled again.";
  return ask({ title: `Delete ${nameOf(key)}?`, body: h("p", {}, words), submit: "Delete", danger: true,
    onsubmit: () => call("DELETE", pathOf(key)) });
}
