// Money, tokens and calls over time, by whatever tells them apart.
import { chart } from "./chart.js";
import { field, format, h, table } from "./elements.js";
import { facts, failed, naming, newest, readAll, redraw, select } from "./operate_view.js";

const DAY_S = 86_400;
const RANGES = { "24 hours": [1, "hour"], "7 days": [7, "day"], "30 days": [30, "day"], "90 days": [90, "day"],
  year: [365, "month"] };
const LABELS = {
  hour: { weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
  day: { day: "numeric", month: "short" },
  month: { month: "short", year: "numeric" },
};
const GROUPS = { principal: "key", team: "team", model: "model", provider: "provider", dialect: "dialect", tag: "tag" };
const MEASURES = {
  money: [(row) => row.cost_micro, format.money],
  tokens: [tokensOf, format.count],
  calls: [(row) => row.calls, format.count],
};
const COUNTS = { calls: "Calls", failed: "Failed", tokens: "Tokens", unpriced: "Without a price" };

/** The tab of what was used. */
export default function spend() {
  const same = (words) => Object.fromEntries(Object.keys(words).map((word) => [word, word]));
  const range = select(same(RANGES), "7 days"), by = select(GROUPS), measure = select(same(MEASURES));
  const place = h("div", { class: "column" });
  const namesOf = naming();
  const load = newest(async () => {
    const asked = { range: range.value, by: by.value, measure: measure.value };
    const sums = await sumsOf(asked);
    const principals = asked.by === "principal" ? sums.rows.map((row) => row.principal) : [];
    return { ...asked, ...sums, nameOf: await namesOf(principals) };
  }, (found) => redraw(place, drawing(found, Math.max(320, place.clientWidth - 34))));
  const change = () => load().catch(failed);
  const form = h("form", { class: "filters", "aria-label": "What to show", on: { change } },
    field("Last", range), field("By", by), field("Measure", measure));
  return { node: h("div", { class: "column" }, form, place), load, everyMs: 15_000 };
}

/** Read the sums by time and by what is asked, and those of all calls: one with two tags is in two groups. */
async function sumsOf({ range, by }) {
  const [days, step] = RANGES[range];
  const time = step === "hour" ? "hour" : "day";
  const since = Math.floor(Date.now() / 1000) - days * DAY_S;
  const usage = (group) => readAll("/api/admin/usage", "rows", { group, since, limit: 250 });
  const [all, rows] = await Promise.all([usage(time), usage(`${time},${by}`)]);
  return { all, rows, step, time, since };
}

function drawing({ range, by, measure, all, rows, step, time, since, nameOf }, width) {
  const [measured, write] = MEASURES[measure];
  const nameOfRow = (row) => nameOf(row[by]) || "none";
  const buckets = bucketsOf(rows, { step, time, since }, nameOfRow, measured);
  const label = `${measure} by ${GROUPS[by]}, each ${step} of the last ${range}`;
  return [totals(sumUp(all)), chart(buckets, { format: write, width, label }), tableOf(rows, GROUPS[by], nameOfRow)];
}

/** Spans of time from `since` on, those without any calls as well. */
function bucketsOf(rows, { step, time, since }, nameOf, measure) {
  const size = time === "hour" ? 3600 : DAY_S;
  // A day begins when the gateway's own does, which the sums tell.
  const offset = rows.length ? rows[0][time] % size : 0;
  const buckets = new Map();
  for (let at = Math.ceil((since - offset) / size) * size + offset; at < Date.now() / 1000; at += size) {
    buckets.set(labelOf(step, at), new Map());
  }
  for (const row of rows) {
    const label = labelOf(step, row[time]), name = nameOf(row);
    const values = buckets.get(label) ?? new Map();
    buckets.set(label, values.set(name, (values.get(name) ?? 0) + measure(row)));
  }
  return [...buckets].map(([label, values]) => ({ label, values }));
}

/** What a span of time is called. A day is the gateway's own: at its noon both zones are in the same one. */
function labelOf(step, at) {
  return new Date((step === "hour" ? at : at + DAY_S / 2) * 1000).toLocaleString([], LABELS[step]);
}

function tokensOf(row) {
  return Object.values(row.tokens).reduce((sum, count) => sum + count, 0);
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
  const unknown = h("p", { class: "warn-text" }, `${calls} whose price nobody knows: the cost is that of the others.`);
  const shown = [["Cost", format.money(sum.cost_micro)], ["Calls", format.count(sum.calls)],
    ["Failed", format.count(sum.failed)], ["Tokens", format.count(sum.tokens)]];
  return [facts(shown, "totals"), sum.unpriced ? unknown : null];
}

function tableOf(rows, title, nameOf) {
  const groups = new Map();
  for (const row of rows) groups.set(nameOf(row), [...(groups.get(nameOf(row)) ?? []), row]);
  const sums = [...groups].map(([name, members]) => ({ name, ...sumUp(members) }));
  sums.sort((a, b) => b.cost_micro - a.cost_micro || b.tokens - a.tokens);
  const number = (head, cell) => ({ head, cell, class: "number" });
  return table([
    { head: title[0].toUpperCase() + title.slice(1), cell: (row) => row.name },
    number("Cost", (row) => format.money(row.unpriced && !row.cost_micro ? null : row.cost_micro)),
    ...Object.entries(COUNTS).map(([name, head]) => number(head, (row) => format.count(row[name]))),
  ], sums, { empty: "Nothing was used in this time.", caption: `Sums by ${title}` });
}
