// Forms whose fields are named as the API names them, and what keys and teams have in common: limits and a budget.
import { Trouble } from "./api.js";
import { field, format, h } from "./elements.js";

const WINDOWS = { total: "in total", hour: "an hour", day: "a day", week: "a week", month: "a month", year: "a year" };
const LIMITS = {
  requests_per_minute: ["Requests a minute", "req/min"],
  tokens_per_minute: ["Tokens a minute", "tokens/min"],
  requests_per_day: ["Requests a day", "req/day"],
  parallel: ["At the same time", "at once"],
};

/** A line of text. */
export function line(name, label, value = "", { hint, ...attributes } = {}) {
  const control = h("input", { type: "text", value, autocomplete: "off", ...attributes });
  return { name, label, control, hint, read: () => control.value.trim() };
}

/** Words with commas between them; `empty` is what nothing at all means. */
export function words(name, label, values, { hint, empty = [] } = {}) {
  const found = line(name, label, values.join(", "), { hint });
  const read = () => found.read().split(",").map((word) => word.trim()).filter(Boolean);
  return { ...found, read: () => (read().length ? read() : empty) };
}

/** A whole number; nothing reads as `empty`. */
export function whole(name, label, value, { empty = null, pattern = "[0-9]{1,16}" } = {}) {
  const more = { inputmode: "numeric", pattern, placeholder: empty ?? "no limit" };
  const found = line(name, label, value ?? "", more);
  return { ...found, read: () => (found.read() ? Number(found.read()) : empty) };
}

/** One of some values; `options` are pairs of a value and its words. */
export function choice(name, label, value, options) {
  const control = h("select", {}, options.map(([each, said]) => h("option", { value: each }, said)));
  control.value = value;
  return { name, label, control, read: () => control.value };
}

/** Yes or no. */
export function tick(name, label, value) {
  const control = h("input", { type: "checkbox", checked: value });
  return { name, label, control, read: () => control.checked };
}

/** A time in Unix seconds, typed in the browser's zone; nothing reads as null. */
export function moment(name, label, unixS, { hint } = {}) {
  const control = h("input", { type: "datetime-local", step: "1" });
  const at = new Date((unixS ?? 0) * 1000);
  if (unixS !== null) control.value = new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
  return { name, label, control, hint, read: () => (control.value ? new Date(control.value).getTime() / 1000 : null) };
}

/** The fields of limits. */
export const limitFields = (limits = {}) =>
  Object.entries(LIMITS).map(([name, [label]]) => whole(`limits.${name}`, label, limits[name]));

/** The fields of a budget, whose amount stays text all the way. */
export const budgetFields = (budget) => [
  line("budget.amount", "Amount", budget ? format.money(budget.micro).replaceAll(",", "") : "", {
    inputmode: "decimal", pattern: "(0|[1-9][0-9]*)(\\.[0-9]{1,6})?", placeholder: "no budget",
    hint: "Such as 5.00, with at most six decimals." }),
  choice("budget.window", "Window", budget?.window ?? "month", Object.entries(WINDOWS)),
];

/** Build a form of groups `[legend, fields]`. `send(f)` does `f` and shows what the server says of a field at it. */
export function form(groups) {
  const fields = groups.flatMap(([, members]) => members);
  for (const each of fields) each.node = field(each.label, each.control, { hint: each.hint });
  const node = h("div", { class: "column asked" }, groups.map(([legend, members]) =>
    h("fieldset", {}, h("legend", {}, legend), members.map((each) => each.node))));
  return { node, read: () => bodyOf(fields), send: (work) => sent(fields, work) };
}

function bodyOf(fields) {
  const body = {};
  for (const each of fields) {
    const [name, part] = each.name.split(".");
    body[name] = part ? { ...body[name], [part]: each.read() } : each.read();
  }
  if (body.budget?.amount === "") body.budget = null;
  return body;
}

async function sent(fields, work) {
  for (const each of fields) each.node.complain(null);
  try {
    return await work();
  } catch (error) {
    const name = (error.field ?? "").replace(/\[.*$/, "");
    const wrong = fields.find((each) => name && (each.name === name || each.name.startsWith(`${name}.`)));
    if (!wrong) throw error;
    wrong.node.complain(error.message);
    wrong.control.focus();
    throw new Trouble(`Nothing was changed: see “${wrong.label}”.`, { status: error.status, field: error.field });
  }
}

/** What of `after` is not as in `before`: the body of a PATCH. */
export const changes = (before, after) => Object.fromEntries(
  Object.entries(after).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name])));

/** Limits in short words. */
export function limitWords(limits) {
  const given = Object.entries(LIMITS).filter(([name]) => limits[name] !== null);
  const words = given.map(([name, [, unit]]) => h("li", {}, `${format.count(limits[name])} ${unit}`));
  return words.length ? h("ul", { class: "short" }, words) : h("span", { class: "quiet" }, "none");
}

/** What is spent of a budget, as a bar and in words. */
export function budgetBar(budget) {
  if (!budget) return h("span", { class: "quiet" }, "none");
  const { micro, spent_micro: spent, window, resets } = budget;
  const full = micro ? Math.min(100, Number((BigInt(Math.max(0, spent)) * 100n) / BigInt(micro))) : 100;
  const part = h("i");
  part.style.width = `${full}%`;
  const [look, state] = full === 100 ? ["bad", "used up"] : full >= 90 ? ["warn", "almost used up"] : ["", ""];
  const words = `${format.money(spent)} of ${format.money(micro)} ${WINDOWS[window]}`;
  const meter = { role: "meter", "aria-label": "Budget", "aria-valuetext": words, "aria-valuenow": `${full}` };
  return h("div", { class: "budget" }, h("div", { class: `bar ${look}`, ...meter }, part), words, " ",
    state && h("span", { class: `tag ${look}` }, state),
    resets && h("div", { class: "quiet" }, `anew ${format.when(resets)}`));
}
