// Keys: who may use what, what they spent of their budgets, and secrets that are shown once.
import { call } from "./api.js";
import { ask, copyButton, format, h } from "./elements.js";
import {
  LIMIT_COLUMNS, askDelete, askFor, choice, limitGroups, line, listing, moment, tick, whole, words,
} from "./operate_form.js";
import { failed, options, read, readAll, select } from "./operate_view.js";

const PATH = "/api/admin/keys";
const ROLES = { user: "User", admin: "Operator" };
const OVERLAPS = {
  0: "ends at once", 600: "works for 10 minutes", 3600: "works for an hour", 86400: "works for a day",
  604800: "works for a week",
};
const NEW = { name: "", owner: "", team: "", tags: [], role: "user", models: ["*"], dialects: ["*"], limits: {},
  budget: null, expires: null, keeps_content: false, priority: 0 };
const COLUMNS = [
  { head: "Key", cell: (key) => [nameOf(key), h("div", { class: "quiet mono" }, `${secretOf(key)} · ${key.id}`)] },
  { head: "State", cell: stateOf },
  { head: "Owner and team", cell: (key) => [key.owner || "–", h("div", { class: "quiet" }, key.team)] },
  { head: "Role", cell: (key) => (key.role === "admin" ? tag("", "operator") : "user") },
  ...LIMIT_COLUMNS,
  { head: "Models", cell: (key) => key.models.join(", ") },
  { head: "Expires", cell: (key) => (key.expires === null ? "never" : format.when(key.expires)) },
  { head: "Tags", cell: (key) => (key.tags.length ? key.tags.map((each) => tag("", each)) : "–") },
];

const tag = (kind, word) => h("span", { class: `tag ${kind}` }, word);
const pathOf = (id) => `${PATH}/${encodeURIComponent(id)}`;
const nameOf = (key) => key.name || key.owner || key.principal;
const secretOf = (key) => (key.prefix ? `${key.prefix}…${key.last_four}` : key.principal);
const teamWords = async (none) => ({
  "": none, ...Object.fromEntries((await readAll("/api/admin/teams", "teams")).map(({ name }) => [name, name])) });

/** The tab of the keys. */
export default function keys() {
  const filter = select({ "": "All teams" }, "", { name: "team", "aria-label": "Team" });
  teamWords("All teams").then((teams) => filter.replaceChildren(...options(teams))).catch(failed);
  const list = listing({ title: "Keys", label: "New key", path: PATH, name: "keys", columns: COLUMNS, actions,
    create: () => edit(null), filter, limit: 100 });
  return { ...list, everyMs: 2000 };
}

function actions(key) {
  const { id, disabled } = key;
  const name = `the key ${nameOf(key)}`;
  const toggle = () => call("PATCH", pathOf(id), { body: { disabled: !disabled } });
  return [
    ["edit", `Change ${name}`, async () => edit(await read(pathOf(id)))],
    [disabled ? "play" : "stop", `${disabled ? "Enable" : "Disable"} ${name}`, toggle],
    ...(key.prefix ? [["retry", `Rotate ${name}`, () => rotate(id, name)]] : []),
    ["trash", `Delete ${name}`, () => drop(key, name)],
  ];
}

function stateOf(key) {
  const nowS = Date.now() / 1000;
  if (key.disabled) return tag("bad", "disabled");
  if (key.expires !== null && key.expires <= nowS) return tag("bad", "expired");
  const left = key.overlap_until - nowS;
  const until = left < 3600 ? format.time : format.when;
  return left > 0 ? tag("warn", `overlap until ${until(key.overlap_until)}`) : tag("good", "active");
}

/** Ask for what a key is to be; without a key, for a new one. */
async function edit(key) {
  const groups = groupsOf(key ?? NEW, await teamWords("None"));
  const title = key ? `Change ${nameOf(key)}` : "New key";
  let made = null;
  const done = await askFor(title, key ? "Save" : "Create", groups, async (body, changes) => {
    made = key ? await call("PATCH", pathOf(key.id), { body: changes }) : await call("POST", PATH, { body });
  });
  if (done && !key) await reveal(made);
}

const groupsOf = (key, teams) => [
  ["Who", [
    line("name", "Name", key.name), line("owner", "Owner", key.owner),
    choice("team", "Team", key.team, teams), choice("role", "Role", key.role, ROLES),
    words("tags", "Tags", key.tags, "Labels in the usage figures, with commas between.")]],
  ["What", [
    words("models", "Models", key.models, "Patterns such as gpt-*.", ["*"]),
    words("dialects", "Dialects", key.dialects, "Patterns of the ways in.", ["*"]),
    moment("expires", "Expires", key.expires, "Empty: never."),
    whole("priority", "Priority in a queue", key.priority, { empty: 0, pattern: "-?[0-9]{1,4}" }),
    tick("keeps_content", "Keep what is said in the request log", key.keeps_content)]],
  ...limitGroups(key),
];

async function rotate(id, name) {
  const overlap = choice("overlap", "The old secret", "600", OVERLAPS, "Until then both work.");
  let fresh = null;
  const done = await askFor(`A new secret for ${name}`, "Rotate", [["Overlap", [overlap]]], async (body) => {
    fresh = await call("POST", `${pathOf(id)}/rotate`, { body: { overlap_s: Number(body.overlap) } });
  });
  if (done) await reveal(fresh);
}

/** Show a secret, this once. */
function reveal({ secret }) {
  const sentence = "Copy this secret now: it is kept nowhere and cannot be shown again.";
  const shown = h("pre", { class: "code", tabindex: "0" }, secret);
  const body = h("div", { class: "column" }, h("p", {}, sentence), shown, h("div", {}, copyButton(secret)));
  return ask({ title: "The new secret", body, submit: "Done", cancel: null });
}

function drop(key, name) {
  const sentence = `Whoever uses ${secretOf(key)}, or a key that was made with it, is refused at once. `
    + "Conversations and usage stay. This cannot be undone; a disabled key can be enabled again.";
  return askDelete(name, sentence, pathOf(key.id));
}
