// Lists and forms of what operators make, whose fields are named as the API names them; limits and budgets.
import { Trouble, call } from "./api.js";
import { ask, button, field, format, h, table } from "./elements.js";
import { failed, newest, paging, quiet, read, redraw, select } from "./operate_view.js";

const WINDOWS = { total: "in total", hour: "an hour", day: "a day", week: "a week", month: "a month", year: "a year" };
const LIMITS = {
  requests_per_minute: ["Requests a minute", "req/min"],
  tokens_per_minute: ["Tokens a minute", "tokens/min"],
  requests_per_day: ["Requests a day", "req/day"],
  parallel: ["At the same time", "at once"],
};
const AMOUNT = { inputmode: "decimal", pattern: "(0|[1-9][0-9]*)(\\.[0-9]{1,6})?", placeholder: "no budget",
  hint: "Such as 5.00, with at most six decimals." };

// --- lists ---

/**
 * A list with its heading, read page by page. `create()` asks for a new row; `actions(row)` are `[icon, title, work]`,
 * which read what they change anew: what the row showed may be old. `filter` is a control by whose name it is asked.
 */
export function listing({ title, label, path, name, columns, actions, create, filter = null, limit = null }) {
  const place = h("div", { class: "column" });
  const query = () => ({ limit, after: pages.after(), ...(filter && { [filter.name]: filter.value }) });
  const load = newest(() => read(path, query()), (page) => redraw(place,
    table([...columns, { head: "Actions", class: "number", cell }], page[name], { caption: title }),
    pages.buttons(page.next)));
  const pages = paging(load);
  const does = (work) => () => work().then(load).catch(failed);
  const cell = (row) => h("div", { class: "row end" }, actions(row).map(([icon, said, work]) =>
    button("", does(work), { icon, kind: "quiet", title: said, data: { of: row.id ?? row.name } })));
  filter?.addEventListener("change", pages.restart);
  const add = button(label, does(create), { icon: "plus", kind: "primary" });
  const head = h("div", { class: "row between" }, h("h2", {}, title), h("div", { class: "row" }, filter, add));
  return { node: h("section", { class: "column listing" }, head, place), load };
}

/** Ask whether something is to be deleted, and delete it. */
export const askDelete = (what, words, path) => ask({ title: `Delete ${what}?`, body: h("p", {}, words),
  submit: "Delete", danger: true, onsubmit: () => call("DELETE", path) });

// --- forms ---

/**
 * Ask for fields in a dialog, `[[legend, fields]]`, and do `work(body, changes)` with what was filled in; `changes` is
 * what of it is not as before. What the server says of a field is shown at it. Resolves to whether it was done.
 */
export function askFor(title, submit, groups, work) {
  const fields = groups.flatMap(([, members]) => members);
  for (const each of fields) each.node = field(each.label, each.control, { hint: each.hint });
  const body = h("div", { class: "column asked" }, groups.map(([legend, members]) =>
    h("fieldset", {}, h("legend", {}, legend), members.map((each) => each.node))));
  const before = bodyOf(fields);
  const isNew = ([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name]);
  const onsubmit = async () => {
    for (const each of fields) each.node.complain(null);
    const said = bodyOf(fields);
    await work(said, Object.fromEntries(Object.entries(said).filter(isNew))).catch((error) => pointAt(fields, error));
  };
  return ask({ title, body, submit, onsubmit });
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

function pointAt(fields, error) {
  const name = (error.field ?? "").replace(/\[.*$/, "");
  const wrong = fields.find((each) => name && (each.name === name || each.name.startsWith(`${name}.`)));
  if (!wrong) throw error;
  wrong.node.complain(error.message);
  wrong.control.focus();
  throw new Trouble(`Nothing was changed: see “${wrong.label}”.`, { status: error.status, field: error.field });
}

/** A line of text. A password may begin and end with spaces. */
export function line(name, label, value = "", { hint, ...attributes } = {}) {
  const control = h("input", { type: "text", value, autocomplete: "off", ...attributes });
  const isExact = control.type === "password";
  return { name, label, control, hint, read: () => (isExact ? control.value : control.value.trim()) };
}

/** A name that stands in a path. */
export const nameLine = () =>
  line("name", "Name", "", { required: true, pattern: "[^\\/]+", title: "A name without a slash" });

/** Words with commas between them; `empty` is what nothing at all means. */
export function words(name, label, values, hint, empty = []) {
  const found = line(name, label, values.join(", "), { hint });
  const given = () => found.read().split(",").map((word) => word.trim()).filter(Boolean);
  return { ...found, read: () => (given().length ? given() : empty) };
}

/** A whole number; nothing reads as `empty`. */
export function whole(name, label, value, { empty = null, pattern = "[0-9]{1,16}" } = {}) {
  const found = line(name, label, value ?? "", { inputmode: "numeric", pattern, placeholder: empty ?? "no limit" });
  return { ...found, read: () => (found.read() ? Number(found.read()) : empty) };
}

/** One of some values, `{value: word}`. */
export function choice(name, label, value, options, hint) {
  const control = select(options, value);
  return { name, label, control, hint, read: () => control.value };
}

/** Yes or no. */
export function tick(name, label, value) {
  const control = h("input", { type: "checkbox", checked: value });
  return { name, label, control, read: () => control.checked };
}

/** A time in Unix seconds, typed in the browser's zone; nothing reads as null. */
export function moment(name, label, unixS, hint) {
  const control = h("input", { type: "datetime-local", step: "1" });
  const at = new Date((unixS ?? 0) * 1000);
  if (unixS !== null) control.value = new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
  return { name, label, control, hint, read: () => (control.value ? new Date(control.value).getTime() / 1000 : null) };
}

// --- limits and budgets ---

/** The groups of fields that keys and teams have in common; a budget's amount stays text all the way. */
export const limitGroups = ({ limits = {}, budget = null }) => [
  ["Limits", Object.entries(LIMITS).map(([name, [label]]) => whole(`limits.${name}`, label, limits[name]))],
  ["Budget", [
    line("budget.amount", "Amount", budget ? format.money(budget.micro).replaceAll(",", "") : "", AMOUNT),
    choice("budget.window", "Window", budget?.window ?? "month", WINDOWS)]],
];

/** The columns that keys and teams have in common. */
export const LIMIT_COLUMNS = [
  { head: "Limits", cell: (row) => limitWords(row.limits) },
  { head: "Budget", cell: (row) => budgetBar(row.budget) },
];

/** Limits in short words. */
export function limitWords(limits) {
  const given = Object.entries(LIMITS).filter(([name]) => limits[name] !== null);
  const items = given.map(([name, [, unit]]) => h("li", {}, `${format.count(limits[name])} ${unit}`));
  return items.length ? h("ul", { class: "plain" }, items) : quiet("none");
}

function budgetBar(budget) {
  if (!budget) return quiet("none");
  const { micro, spent_micro: spent, window, resets } = budget;
  const full = micro ? Math.min(100, Number((BigInt(Math.max(0, spent)) * 100n) / BigInt(micro))) : 100;
  const part = h("i");
  part.style.width = `${full}%`;
  const [look, state] = full === 100 ? ["bad", "used up"] : full >= 90 ? ["warn", "almost used up"] : ["", ""];
  const said = `${format.money(spent)} of ${format.money(micro)} ${WINDOWS[window]}`;
  const meter = { role: "meter", "aria-label": "Budget", "aria-valuetext": said, "aria-valuenow": `${full}` };
  return h("div", { class: "budget" }, h("div", { class: `bar ${look}`, ...meter }, part), said, " ",
    state && h("span", { class: `tag ${look}` }, state),
    resets && h("div", { class: "quiet" }, `anew ${format.when(resets)}`));
}
