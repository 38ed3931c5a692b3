// Charts as SVG, drawn by hand: a stacked bar for each span of time. Colours are classes, `.series-0` to `.series-8`.
import { h } from "./elements.js";

const SPACE = "http://www.w3.org/2000/svg";
const MARGIN = { top: 10, right: 8, bottom: 24, left: 64 };
const LABEL_WIDTH = 64;
export const OTHER = "other";

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** The names of all parts, the biggest first; what comes after `most` becomes "other". */
export function seriesOf(buckets, most = 8) {
  const totals = new Map();
  for (const { parts } of buckets) {
    for (const { name, value } of parts) totals.set(name, (totals.get(name) ?? 0) + value);
  }
  const names = [...totals].filter(([, total]) => total > 0).sort((a, b) => b[1] - a[1]).map(([name]) => name);
  return names.length > most ? [...names.slice(0, most), OTHER] : names;
}

function valuesOf(parts, names) {
  const values = new Map(names.map((name) => [name, 0]));
  for (const { name, value } of parts) {
    const into = values.has(name) ? name : OTHER;
    if (values.has(into)) values.set(into, values.get(into) + value);
  }
  return values;
}

/** Round steps of 1, 2 or 5 times a power of ten, about four of them; never less than one whole unit. */
function stepFor(highest) {
  const rough = highest / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  return Math.max(1, [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough));
}

function axis(plot, highest, step, format) {
  const lines = [];
  for (let value = 0; value <= highest; value += step) {
    const y = plot.y(value);
    lines.push(svg("line", { class: "tick", x1: plot.left, x2: plot.right, y1: y, y2: y }));
    lines.push(svg("text", { x: plot.left - 8, y: y + 4, "text-anchor": "end" }, format(value)));
  }
  return lines;
}

function bar(plot, bucket, values, index, format) {
  const group = svg("g", { class: "bar-group" });
  const x = plot.left + index * plot.slot + plot.slot * 0.12;
  const total = sum([...values.values()]);
  const told = [...values].filter(([, value]) => value > 0).map(([name, value]) => `${name}: ${format(value)}`);
  group.append(svg("title", {}, [`${bucket.label}: ${format(total)}`, ...told].join("\n")));
  // The whole slot is sensitive, so that the title of a short bar can be reached as well.
  const slot = { x: plot.left + index * plot.slot, y: plot.top, width: plot.slot, height: plot.bottom - plot.top };
  group.append(svg("rect", { class: "slot", ...slot }));
  let below = 0;
  [...values.values()].forEach((value, series) => {
    if (value <= 0) return;
    const top = plot.y(below + value);
    const height = Math.max(plot.y(below) - top, 0.5);
    group.append(svg("rect", { class: `series-${series}`, x, y: top, width: plot.slot * 0.76, height }));
    below += value;
  });
  return group;
}

function labels(plot, buckets, height) {
  const every = Math.max(1, Math.ceil((buckets.length * LABEL_WIDTH) / (plot.right - plot.left)));
  return buckets.flatMap(({ label }, index) => {
    if (index % every) return [];
    const x = plot.left + (index + 0.5) * plot.slot;
    return [svg("text", { x, y: height - 6, "text-anchor": "middle" }, label)];
  });
}

/** Draw `[{label, parts: [{name, value}]}]` as stacked bars; `format` writes a value, sizes are in pixels. */
export function stackedBars({ buckets, format, height = 240, width = 720, label = "", names = seriesOf(buckets) }) {
  const values = buckets.map(({ parts }) => valuesOf(parts, names));
  const most = Math.max(1, ...values.map((bucket) => sum([...bucket.values()])));
  const step = stepFor(most);
  const highest = Math.ceil(most / step) * step;
  const plot = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  plot.slot = (plot.right - plot.left) / Math.max(1, buckets.length);
  plot.y = (value) => plot.bottom - (value / highest) * (plot.bottom - plot.top);
  return svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    ...axis(plot, highest, step, format),
    ...buckets.map((bucket, index) => bar(plot, bucket, values[index], index, format)),
    ...labels(plot, buckets, height),
  );
}

/** The names beside their colours. */
export function legend(names) {
  const item = (name, index) => h("li", {}, h("i", { class: `series-${index}`, "aria-hidden": "true" }), name);
  return h("ul", { class: "legend" }, names.map(item));
}
