// Charts as SVG, drawn by hand: a stacked bar for each span of time. Colours are classes, `.series-0` to `.series-8`.
import { h } from "./elements.js";

const SPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 240;
const MARGIN = { top: 10, right: 8, bottom: 24, left: 64 };
const LABEL_WIDTH = 64;
const MOST_SERIES = 8;

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children.flat());
  return node;
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** Draw `[{label, values: Map of name to value}]` as stacked bars with a legend; `format` writes a value. */
export function chart(buckets, { format, width, label }) {
  const { names, bars } = stack(buckets);
  const highest = Math.max(1, ...bars.map(({ parts }) => sum(parts)));
  const step = stepFor(highest);
  const plot = plotOf(width, Math.ceil(highest / step) * step, bars.length);
  const drawing = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label },
    axis(plot, step, format), bars.map((bar, index) => drawBar(plot, index, bar, names, format)), labels(plot, bars));
  const colour = (index) => h("i", { class: `series-${index}`, "aria-hidden": "true" });
  const legend = h("ul", { class: "legend" }, names.map((name, index) => h("li", {}, colour(index), name)));
  return h("figure", { class: "card" }, drawing, legend);
}

/** Name the series, the biggest first, and put together what comes after the last that has a colour of its own. */
function stack(buckets) {
  const totals = new Map();
  for (const [name, value] of buckets.flatMap(({ values }) => [...values])) {
    totals.set(name, (totals.get(name) ?? 0) + value);
  }
  const ranked = [...totals].filter(([, total]) => total > 0).sort((a, b) => b[1] - a[1]).map(([name]) => name);
  const groups = ranked.slice(0, MOST_SERIES).map((name) => [name]);
  const names = groups.flat();
  if (ranked.length > MOST_SERIES) {
    groups.push(ranked.slice(MOST_SERIES));
    names.push("other");
  }
  const heights = (values) => groups.map((group) => sum(group.map((name) => values.get(name) ?? 0)));
  return { names, bars: buckets.map(({ label, values }) => ({ label, parts: heights(values) })) };
}

/** Round steps of 1, 2 or 5 times a power of ten, about four of them; never less than one whole unit. */
function stepFor(highest) {
  const rough = highest / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  return Math.max(1, [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough));
}

function plotOf(width, highest, count) {
  const plot = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: HEIGHT - MARGIN.bottom };
  plot.highest = highest;
  plot.slot = (plot.right - plot.left) / Math.max(1, count);
  plot.y = (value) => plot.bottom - (value / highest) * (plot.bottom - plot.top);
  return plot;
}

function axis(plot, step, format) {
  const lines = [];
  for (let value = 0; value <= plot.highest; value += step) {
    const y = plot.y(value);
    lines.push(svg("line", { class: "tick", x1: plot.left, x2: plot.right, y1: y, y2: y }));
    lines.push(svg("text", { x: plot.left - 8, y: y + 4, "text-anchor": "end" }, format(value)));
  }
  return lines;
}

function drawBar(plot, index, { label, parts }, names, format) {
  const left = plot.left + index * plot.slot;
  const used = parts.map((value, series) => ({ value, series })).filter(({ value }) => value > 0);
  const told = used.map(({ value, series }) => `${names[series]}: ${format(value)}`);
  let below = 0;
  const rects = used.map(({ value, series }) => {
    const [y, bottom] = [plot.y(below + value), plot.y(below)];
    below += value;
    const place = { x: left + plot.slot * 0.12, y, width: plot.slot * 0.76, height: Math.max(bottom - y, 0.5) };
    return svg("rect", { class: `series-${series}`, ...place });
  });
  // The whole slot is sensitive, so that the title of a short bar can be reached as well.
  const slot = { x: left, y: plot.top, width: plot.slot, height: plot.bottom - plot.top };
  const title = svg("title", {}, [`${label}: ${format(below)}`, ...told].join("\n"));
  return svg("g", { class: "bar-group" }, title, svg("rect", { class: "slot", ...slot }), rects);
}

function labels(plot, bars) {
  const every = Math.max(1, Math.ceil(LABEL_WIDTH / plot.slot));
  return bars.flatMap(({ label }, index) => {
    if (index % every) return [];
    const x = plot.left + (index + 0.5) * plot.slot;
    return [svg("text", { x, y: HEIGHT - 6, "text-anchor": "middle" }, label)];
  });
}
