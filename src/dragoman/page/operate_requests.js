// Requests as they end, the newest on top, and the story of one.
import { call } from "./api.js";
import { button, field, fill, format, h, table, troubleBox } from "./elements.js";
import { mark, mono, namesOfKeys } from "./operate.js";

const POLL_MS = 1500;
const PAGE = 50;
const MOST_ROWS = 500;
const OUTCOMES = {
  completed: "good", truncated: "bad", failed: "bad", refused: "warn", abandoned: "warn", interrupted: "bad",
};
const FILTERS = ["principal", "key", "team", "model", "provider", "dialect"];
const INPUT = ["input", "cache_read", "cache_write", "cache_write_1h", "audio_in", "image_in"];

const optional = (milliseconds) => (milliseconds === null ? "–" : format.ms(milliseconds));
const newestFirst = (a, b) => b.at - a.at || (a.id < b.id ? 1 : -1);

function tokens(row, isInput) {
  const counts = Object.entries(row.tokens).filter(([kind]) => INPUT.includes(kind) === isInput);
  return (row.estimated ? "≈ " : "") + format.count(counts.reduce((sum, [, count]) => sum + count, 0));
}

function outcome(row) {
  const word = mark(OUTCOMES[row.outcome] ?? "warn", row.outcome);
  return row.code && row.code !== "ok" ? [word, " ", h("span", { class: "quiet" }, row.code)] : word;
}

const addressOf = (id) => `#/operate/requests/${encodeURIComponent(id)}`;
const linkTo = (row) => h("a", { href: addressOf(row.id), title: format.when(row.at) }, format.time(row.at));
const columns = (nameOf) => [
  { head: "Time", cell: linkTo },
  { head: "Outcome", cell: outcome },
  { head: "Who", cell: (row) => nameOf(row.principal) },
  { head: "Dialect", cell: (row) => row.dialect },
  { head: "Model", cell: (row) => mono(row.model || "default") },
  { head: "Answered by", cell: (row) => mono(row.provider ? `${row.provider}/${row.target}` : "–") },
  { head: "Tokens in", class: "number", cell: (row) => tokens(row, true) },
  { head: "Out", class: "number", cell: (row) => tokens(row, false) },
  { head: "Cost", class: "number", cell: (row) => format.money(row.cost_micro) },
  { head: "First byte", class: "number", cell: (row) => optional(row.first_byte_ms) },
  { head: "Total", class: "number", cell: (row) => format.ms(row.total_ms) },
];
const ATTEMPTS = [
  { head: "Provider", cell: (row) => mono(`${row.provider}/${row.model}`) },
  { head: "Credential", cell: (row) => mono(row.credential ? `…${row.credential}` : "–") },
  { head: "Came to", cell: (row) => mark(row.outcome === "ok" ? "good" : "bad", row.outcome) },
  { head: "Detail", cell: (row) => row.detail },
  { head: "After", class: "number", cell: (row) => format.ms(row.ms) },
];

const kept = (title, text) =>
  text === null ? null : [h("h3", {}, title), h("pre", { class: "code kept", tabindex: "0" }, text)];

function storyOf(row) {
  const isKept = row.question !== null || row.answer !== null;
  return h("article", { class: "card column story" },
    h("div", { class: "row head" }, h("h2", {}, "Request ", mono(row.id)), h("span", {}, outcome(row))),
    h("ol", { "aria-label": "What happened" }, row.story.map((line) => h("li", {}, line))),
    row.attempts.length ? table(ATTEMPTS, row.attempts, { caption: "Attempts" }) : null,
    kept("Question", row.question),
    kept("Answer", row.answer),
    isKept ? null : h("p", { class: "quiet" }, "What was said is not kept."));
}

function filterForm(change) {
  const words = ["", ...Object.keys(OUTCOMES)].map((value) => h("option", { value }, value || "all"));
  const text = (name) => h("input", { name, type: "search", autocomplete: "off", spellcheck: "false" });
  const controls = [...FILTERS.map(text), h("select", { name: "outcome" }, words)];
  const titled = controls.map((control) => field(control.name[0].toUpperCase() + control.name.slice(1), control));
  const submit = (event) => event.preventDefault();
  const form = h("form", { class: "filters", "aria-label": "Filters", on: { change, submit } }, titled);
  return { form, query: () => Object.fromEntries(controls.map(({ name, value }) => [name, value.trim()])) };
}

/** Take the newest page in. Where nothing of it is known there may be a gap: the list is to begin `anew` with it. */
function takeIn(list, page) {
  const known = new Set([...list.shown, ...list.waiting].map((row) => row.id));
  const fresh = page.requests.filter((row) => !known.has(row.id));
  const isGap = fresh.length >= PAGE || known.size > MOST_ROWS;
  if (isGap) Object.assign(list, { waiting: page.requests, anew: page });
  else list.waiting.push(...fresh);
}

/** The list of one set of filters: `poll` takes new rows in, and shows them when nobody reads. */
function listOf(screen, get, nameOf) {
  const list = { shown: [], waiting: [], next: null, anew: null };
  const place = h("div", { class: "requests" });
  const news = button("", () => release(), { kind: "primary", hidden: true });
  const more = button("More", () => older().catch((error) => screen.complain(error)), { hidden: true });
  const show = (rows) => {
    const across = place.firstElementChild?.scrollLeft ?? 0;
    list.shown = [...list.shown, ...rows].sort(newestFirst);
    fill(place, table(columns(nameOf), list.shown, { empty: "No such request yet.", caption: "Requests" }));
    place.firstElementChild.scrollLeft = across;
    [news.hidden, more.hidden] = [!list.waiting.length, !list.next];
  };
  const release = () => {
    if (list.anew) Object.assign(list, { shown: [], next: list.anew.next, anew: null });
    show(list.waiting.splice(0));
  };
  const older = async () => {
    const page = await get({ after: list.next });
    list.next = page.next;
    show(page.requests);
  };
  const poll = async () => {
    takeIn(list, await get({}));
    const isRead = list.shown.length > 0 && place.matches(":hover, :focus-within");
    if (!place.hasChildNodes() || (list.waiting.length && !isRead)) release();
    fill(news, `${list.waiting.length}${list.anew ? " or more" : ""} new`);
    news.hidden = !list.waiting.length;
  };
  return { node: h("div", { class: "column live" }, news, place, h("div", {}, more)), poll };
}

/** The tab of the requests; `showDetail(id)` shows the story of one. */
export default function tab(screen) {
  let list = null, names = null;
  const place = h("div"), story = h("div", { class: "column" });
  const nameOf = (principal) => names.get(principal) ?? principal;
  const begin = () => {
    const query = filters.query();
    const get = (more) => call("GET", "/api/admin/requests", { query: { ...query, limit: PAGE, ...more } });
    list = listOf(screen, get, nameOf);
    fill(place, list.node);
  };
  const poll = async () => {
    names ??= await namesOfKeys();
    await list.poll();
  };
  const filters = filterForm(() => { begin(); poll().catch((error) => screen.complain(error)); });
  const live = h("div", { class: "column" }, filters.form, place);
  const body = h("div", {}, story, live);
  body.showDetail = async (id) => {
    [live.hidden, story.hidden] = [Boolean(id), !id];
    const back = h("a", { href: "#/operate/requests" }, "← All requests");
    fill(story, id ? back : null);
    if (!id) return;
    back.focus();
    const found = await call("GET", `/api/admin/requests/${encodeURIComponent(id)}`).then(storyOf, troubleBox);
    if (back.isConnected) story.append(found);
  };
  begin();
  screen.every(POLL_MS, poll);
  return body;
}
