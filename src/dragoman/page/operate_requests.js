// Requests as they end, the newest on top, and the story of one.
import { button, field, format, h, table } from "./elements.js";
import { failed, mark, mono, naming, newest, paging, quiet, read, redraw, select } from "./operate_view.js";

const PATH = "/api/admin/requests";
const PAGE = 50;
const OUTCOMES = {
  completed: "good", truncated: "bad", failed: "bad", refused: "warn", abandoned: "warn", interrupted: "bad",
};
const FILTERS = ["principal", "key", "team", "model", "provider", "dialect"];
const INPUT = ["input", "cache_read", "cache_write", "cache_write_1h", "audio_in", "image_in"];

/** The tab of the requests. */
export default function requests() {
  const place = h("div", { class: "requests" });
  const news = h("div", { class: "news" });
  const namesOf = naming();
  let shown = null; // The ids in the table; null when whatever comes is to be shown.
  const anew = () => { shown = null; return load(); };
  const pages = paging(anew);
  const filters = filterForm(pages.restart);
  const reading = async () => {
    const found = await read(PATH, { ...filters.query(), limit: PAGE, after: pages.after() });
    return { ...found, nameOf: await namesOf(found.requests.map((row) => row.principal)) };
  };
  const draw = ({ requests: rows, next, nameOf }) => {
    const fresh = rows.filter(({ id }) => !shown?.includes(id)).length;
    // Rows do not move under the eyes of whoever reads them.
    const isHeld = shown?.length && fresh > 0 && place.matches(":hover, :focus-within");
    const label = `${fresh}${fresh === PAGE ? " or more" : ""} new`;
    redraw(news, isHeld ? button(label, () => anew().catch(failed), { kind: "primary" }) : null);
    if (isHeld) return;
    shown = rows.map(({ id }) => id);
    const options = { empty: "No such request yet.", caption: "Requests" };
    redraw(place, table(columns(nameOf), rows, options), pages.buttons(next));
  };
  const load = newest(reading, draw);
  const node = h("div", { class: "column" }, filters.form, h("div", { class: "live" }, news, place));
  return { node, load, everyMs: 1500 };
}

/** The story of one request. */
export function story(id) {
  const place = h("div");
  const load = async () => redraw(place, storyOf(await read(`${PATH}/${encodeURIComponent(id)}`)));
  const back = h("a", { class: "back", href: "#/operate/requests" }, "← All requests");
  return { node: h("div", { class: "column" }, h("div", {}, back), place), load, everyMs: 5000 };
}

function filterForm(change) {
  const words = { "": "all", ...Object.fromEntries(Object.keys(OUTCOMES).map((outcome) => [outcome, outcome])) };
  const text = (name) => h("input", { name, type: "search", autocomplete: "off", spellcheck: "false" });
  const controls = [...FILTERS.map(text), select(words, "", { name: "outcome" })];
  const titled = controls.map((control) => field(control.name[0].toUpperCase() + control.name.slice(1), control));
  const submit = (event) => event.preventDefault();
  const form = h("form", { class: "filters", "aria-label": "Filters", on: { change, submit } }, titled);
  return { form, query: () => Object.fromEntries(controls.map(({ name, value }) => [name, value.trim()])) };
}

const number = (head, cell) => ({ head, cell, class: "number" });
const columns = (nameOf) => [
  { head: "Time", cell: linkTo },
  { head: "Outcome", cell: outcome },
  { head: "Who", cell: (row) => nameOf(row.principal) },
  { head: "Dialect", cell: (row) => row.dialect },
  { head: "Model", cell: (row) => mono(row.model || "default") },
  { head: "Answered by", cell: (row) => mono(row.provider ? `${row.provider}/${row.target}` : "–") },
  number("Tokens in", (row) => tokens(row, true)),
  number("Out", (row) => tokens(row, false)),
  number("Cost", (row) => format.money(row.cost_micro)),
  number("First byte", (row) => format.ms(row.first_byte_ms)),
  number("Total", (row) => format.ms(row.total_ms)),
];
const ATTEMPTS = [
  { head: "Provider", cell: (row) => mono(`${row.provider}/${row.model}`) },
  { head: "Credential", cell: (row) => mono(row.credential ? `…${row.credential}` : "–") },
  { head: "Came to", cell: (row) => mark(row.outcome === "ok" ? "good" : "bad", row.outcome) },
  { head: "Detail", cell: (row) => row.detail },
  number("After", (row) => format.ms(row.ms)),
];

function linkTo({ id, at }) {
  const href = `#/operate/requests/${encodeURIComponent(id)}`;
  return h("a", { href, title: format.when(at) }, format.time(at));
}

function outcome(row) {
  const code = row.code && row.code !== "ok" ? quiet(row.code) : null;
  return [mark(OUTCOMES[row.outcome] ?? "warn", row.outcome), " ", code];
}

function tokens(row, isInput) {
  const counts = Object.entries(row.tokens).filter(([kind]) => INPUT.includes(kind) === isInput);
  return (row.estimated ? "≈ " : "") + format.count(counts.reduce((sum, [, count]) => sum + count, 0));
}

function storyOf(row) {
  const kept = (title, text) =>
    text === null ? null : [h("h3", {}, title), h("pre", { class: "code kept", tabindex: "0" }, text)];
  const isKept = row.question !== null || row.answer !== null;
  return h("article", { class: "card column story" },
    h("div", { class: "row between" }, h("h2", {}, "Request ", mono(row.id)), h("span", {}, outcome(row))),
    h("ol", { "aria-label": "What happened" }, row.story.map((line) => h("li", {}, line))),
    row.attempts.length ? table(ATTEMPTS, row.attempts, { caption: "Attempts" }) : null,
    kept("Question", row.question), kept("Answer", row.answer),
    isKept ? null : quiet("What was said is not kept."));
}
