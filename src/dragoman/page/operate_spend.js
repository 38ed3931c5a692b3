// Money, tokens and calls over time, by whatever tells them apart.
import { call, openStream } from "./api.js";
import { button, field, fill, format, h, table } from "./elements.js";
import { legend, seriesOf, stackedBars } from "./chart.js";
import { facts, namesOfKeys } from "./operate.js";

const DAY_S = 86_400;
const RANGES = new Map([
  ["24 hours", [1, ["hour"]]], ["7 days", [7, ["day", "hour"]]], ["30 days", [30, ["day"]]],
  ["90 days", [90, ["day", "month"]]], ["year", [365, ["month", "day"]]],
]);
const HOUR = { weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const GROUPS = { principal: "key", team: "team", model: "model", provider: "provider", dialect: "dialect", tag: "tag" };
const MOST_PAGES = 40;
const REFRESH_MS = 60_000;
const tokensOf = (row) => Object.values(row.tokens).reduce((sum, count) => sum + count, 0);
const MEASURES = {
  money: [(row) => row.cost_micro, format.money],
  tokens: [tokensOf, format.count],
  calls: [(row) => row.calls, format.count],
};

/** All rows of a query; a page has 250 at most. */
async function rowsOf(query) {
  const rows = [];
  for (let page = 0, after = null; page < MOST_PAGES; page += 1) {
    const found = await call("GET", "/api/admin/usage", { query: { ...query, limit: 250, after } });
    rows.push(...found.rows);
    after = found.next;
    if (!after) return { rows, isWhole: true };
  }
  return { rows, isWhole: false };
}

/** What a span of time is called. A day is the gateway's own: at its noon both zones are in the same one. */
function labelOf(step, at) {
  const date = new Date((step === "hour" ? at : at + DAY_S / 2) * 1000);
  if (step === "hour") return date.toLocaleString([], HOUR);
  const shown = step === "day" ? { day: "numeric", month: "short" } : { month: "short", year: "numeric" };
  return date.toLocaleDateString([], shown);
}

/** Spans of time from `since` on, those without any calls as well. */
function bucketsOf(rows, { step, time, since, name, measure }) {
  const size = time === "hour" ? 3600 : DAY_S;
  const begin = rows.length ? rows[0][time] : Math.floor(since / size) * size;
  const parts = new Map();
  for (let at = begin - Math.floor((begin - since) / size) * size; at < Date.now() / 1000; at += size) {
    parts.set(labelOf(step, at), []);
  }
  for (const row of rows) {
    const label = labelOf(step, row[time]);
    if (!parts.has(label)) parts.set(label, []);
    parts.get(label).push({ name: name(row), value: measure(row) });
  }
  return [...parts].map(([label, those]) => ({ label, parts: those }));
}

function sumUp(rows) {
  const sum = { calls: 0, failed: 0, unpriced: 0, cost_micro: 0, tokens: 0 };
  for (const row of rows) {
    for (const name of Object.keys(sum)) sum[name] += name === "tokens" ? tokensOf(row) : row[name];
  }
  return sum;
}

function totals(sum) {
  const calls = sum.unpriced === 1 ? "One call used tokens" : `${format.count(sum.unpriced)} calls used tokens`;
  const shown = [["Cost", format.money(sum.cost_micro)], ["Calls", format.count(sum.calls)]];
  shown.push(["Failed", format.count(sum.failed)], ["Tokens", format.count(sum.tokens)]);
  const unknown = h("p", { class: "warn-text" }, `${calls} whose price nobody knows: the cost is that of the others.`);
  return [facts(shown, "totals"), sum.unpriced ? unknown : null];
}

function tableOf(rows, title, name) {
  const groups = new Map();
  for (const row of rows) {
    if (!groups.has(name(row))) groups.set(name(row), []);
    groups.get(name(row)).push(row);
  }
  const number = (head, cell) => ({ head, cell, class: "number" });
  const counts = Object.entries({ calls: "Calls", failed: "Failed", tokens: "Tokens", unpriced: "Without a price" });
  const columns = [
    { head: title[0].toUpperCase() + title.slice(1), cell: (row) => row.name },
    number("Cost", (row) => format.money(row.unpriced && !row.cost_micro ? null : row.cost_micro)),
    ...counts.map(([key, head]) => number(head, (row) => format.count(row[key]))),
  ];
  const sums = [...groups].map(([key, those]) => ({ name: key, ...sumUp(those) }));
  sums.sort((a, b) => b.cost_micro - a.cost_micro || b.tokens - a.tokens);
  return table(columns, sums, { empty: "Nothing was used in this time.", caption: `Sums by ${title}` });
}

async function download(query) {
  const parts = [];
  for (let page = 0, after = ""; after !== null; page += 1) {
    const given = new URLSearchParams({ ...query, limit: 250, format: "csv", ...(after && { after }) });
    const response = await openStream(`/api/admin/usage?${given}`, { method: "GET" });
    const text = await response.text();
    // Each page has the line of names; one is enough.
    parts.push(page ? text.slice(text.indexOf("\n") + 1) : text);
    after = response.headers.get("x-next") || null;
  }
  const href = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
  h("a", { href, download: `usage-${query.group.replace(",", "-by-")}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

const select = (words) => h("select", {}, Object.entries(words).map(([value, word]) => h("option", { value }, word)));
const same = (words) => Object.fromEntries([...words].map((word) => [word, word]));

/** Read and draw the sums that `asked` names: `{range, step, by, measure, names, width}`. */
async function drawing({ range, step, by, measure, names, width }) {
  const { time, since, group } = queryOf({ range, step, by });
  // A call with two tags is in two groups: only the sums without groups are the true ones.
  const [all, found] = await Promise.all([rowsOf({ group: time, since }), rowsOf({ group, since })]);
  const name = (row) => names.get(row[by]) ?? (row[by] || "none");
  const [read, write] = MEASURES[measure];
  const buckets = bucketsOf(found.rows, { step, time, since, name, measure: read });
  const series = seriesOf(buckets);
  const label = `${measure} by ${GROUPS[by]}, each ${step} of the last ${range}`;
  return [
    totals(sumUp(all.rows)),
    found.isWhole ? null : h("p", { class: "warn-text" }, "There are more sums than are shown; the CSV has all."),
    h("figure", { class: "card" }, stackedBars({ buckets, format: write, width, label }), legend(series)),
    tableOf(found.rows, GROUPS[by], name),
  ];
}

function queryOf({ range, step, by }) {
  const time = step === "hour" ? "hour" : "day";
  return { time, since: Math.floor(Date.now() / 1000) - RANGES.get(range)[0] * DAY_S, group: `${time},${by}` };
}

/** The tab of what was used. */
export default function tab(screen) {
  const [range, step, by] = [select(same(RANGES.keys())), select({}), select(GROUPS)];
  const controls = { range, step, by, measure: select(same(Object.keys(MEASURES))) };
  const place = h("div", { class: "column" });
  let names = null, drawn = 0, latest = 0;
  const asked = () => Object.fromEntries(Object.entries(controls).map(([name, control]) => [name, control.value]));
  const draw = async () => {
    latest += 1;
    const mine = latest;
    names ??= await namesOfKeys();
    const nodes = await drawing({ ...asked(), names, width: Math.max(320, place.clientWidth - 34) });
    if (mine !== latest) return;
    fill(place, nodes);
    drawn = Date.now();
  };
  const steps = () => fill(step, RANGES.get(range.value)[1].map((word) => h("option", {}, word)));
  const change = (event) => {
    if (event.target === range) steps();
    drawn = 0;
    draw().catch((error) => screen.complain(error));
  };
  const save = () => {
    const { group, since } = queryOf(asked());
    download({ group, since }).catch((error) => screen.complain(error));
  };
  range.value = "7 days";
  steps();
  const form = h("form", { class: "filters", "aria-label": "What to show", on: { change } },
    field("Last", range), field("Per", step), field("By", by), field("Measure", controls.measure),
    button("CSV", save, { icon: "export", title: "Download these sums as CSV" }));
  // Now and then anew, but not under the eyes of whoever reads; at once when the gateway is back.
  screen.every(3000, async () => {
    const isRead = place.matches(":hover, :focus-within");
    if (!drawn || (!isRead && Date.now() - drawn > REFRESH_MS)) await draw();
  });
  return h("div", { class: "column" }, form, place);
}
