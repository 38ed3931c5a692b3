// Pieces of which every screen is made. All text becomes text nodes: nothing here reads HTML.
import { trouble } from "./api.js";

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  plus: "M12 5v14M5 12h14", send: "M12 19V5M6 11l6-6 6 6", stop: "M7 7h10v10H7z", check: "M5 13l4 4L19 7",
  copy: "M9 9h10v11H9zM5 15V4h10", edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4", retry: "M20 11a8 8 0 1 0-2 6M20 4v7h-7",
  left: "M15 5l-7 7 7 7", right: "M9 5l7 7-7 7", trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5", export: "M12 15V4M8 8l4-4 4 4M5 14v6h14v-6",
  menu: "M4 7h16M4 12h16M4 17h16", key: "M8 11a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM11 12l9-9M17 6l3 3",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M5 19l2-2M17 7l2-2",
  moon: "M20 14A8 8 0 0 1 10 4a8 8 0 1 0 10 10z", close: "M6 6l12 12M18 6L6 18",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4", play: "M7 5l12 7-12 7z",
  out: "M14 4H5v16h9M11 12h10M17 8l4 4-4 4",
};

/** Make an element: `class`, `on: {event: f}`, `data: {name: value}`; booleans and strings are attributes. */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name === "on") for (const [event, f] of Object.entries(value)) node.addEventListener(event, f);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name === "class") node.className = value ?? "";
    else if (name === "value") node.value = value;
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...flat(children));
  return node;
}

const flat = (children) => children.flat(Infinity).filter((child) => child !== false && (child ?? null) !== null);

/** Put other children in place of a node's own. */
export function fill(node, ...children) {
  node.replaceChildren(...flat(children));
  return node;
}

/** A drawing of one line, hidden from screen readers: what it is on says what it means. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(path);
  return svg;
}

/** A button; with an icon and no label its title is its name. */
export function button(label, onclick, { icon: drawing, kind = "", title, type = "button", ...more } = {}) {
  const look = [kind, drawing && !label ? "only-icon" : ""].join(" ").trim();
  const props = { type, class: look, title, "aria-label": label ? null : title, ...more };
  if (onclick) props.on = { click: onclick };
  return h("button", props, drawing ? icon(drawing) : null, label || null);
}

/** A button that copies `text`, a string or what makes one. */
export function copyButton(text, label = "Copy") {
  const node = button(label, async () => {
    await copy(typeof text === "function" ? await text() : text);
    fill(node, icon("check"), label ? "Copied" : null);
    setTimeout(() => fill(node, icon("copy"), label || null), 1500);
  }, { icon: "copy", kind: "quiet", title: "Copy" });
  return node;
}

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Pages that came without TLS from another machine have no clipboard of the newer kind.
  const area = h("textarea", { value: text, class: "offscreen" });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

let counter = 0;

/** A control with its label; `hint` says more, and `error` of the result shows what is wrong with it. */
export function field(label, control, { hint } = {}) {
  control.id ||= `field-${++counter}`;
  const error = h("small", { class: "bad-text", id: `${control.id}-error`, role: "alert" });
  control.setAttribute("aria-describedby", error.id);
  const more = hint ? h("small", { class: "quiet" }, hint) : null;
  const node = h("div", { class: "field" }, h("label", { for: control.id }, label), control, more, error);
  node.complain = (text) => {
    fill(error, text ?? "");
    control.toggleAttribute("aria-invalid", Boolean(text));
  };
  return node;
}

/** A short notice that screen readers say too. */
export function say(text, kind = "info") {
  const place = document.getElementById("notices");
  const notice = h("div", { class: `notice ${kind}` }, text);
  place?.append(notice);
  setTimeout(() => notice.remove(), 6000);
}

/** What happened and what to do, with a way to try again. */
export function troubleBox(thrown, { retry } = {}) {
  const found = trouble(thrown);
  const again = retry ? button("Try again", retry, { icon: "retry", kind: "quiet" }) : null;
  return h("div", { class: "trouble", role: "alert" }, h("strong", {}, found.message), ` ${found.advice}`, again);
}

/** A dialog that ends by its button, or by `cancel` and Escape. Resolves to whether it was submitted. */
export function ask({ title, body, submit = "Save", danger = false, cancel = "Cancel", onsubmit = () => {} }) {
  const wrong = h("div");
  const send = button(submit, null, { kind: danger ? "danger" : "primary", type: "submit" });
  const back = cancel ? button(cancel, () => node.close()) : null;
  const buttons = h("div", { class: "row end" }, back, send);
  const form = h("form", { method: "dialog", class: "column" }, h("h2", {}, title), body, wrong, buttons);
  const node = h("dialog", { "aria-label": title }, form);
  let done = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    try {
      await onsubmit();
      done = true;
      node.close();
    } catch (error) {
      fill(wrong, troubleBox(error));
    } finally {
      send.disabled = false;
    }
  });
  // What has no way back, such as a secret that is shown once, is not lost by a stroke of Escape.
  node.addEventListener("cancel", (event) => { if (!cancel) event.preventDefault(); });
  document.body.append(node);
  node.showModal();
  return new Promise((resolve) => {
    node.addEventListener("close", () => { node.remove(); resolve(done); });
  });
}

const two = (number) => String(number).padStart(2, "0");

/** How numbers and times are written. Money stays whole numbers of micro-units until it is text. */
export const format = {
  count: (n) => (n === null || n === undefined ? "–" : Number(n).toLocaleString("en")),
  money(micro) {
    if (micro === null || micro === undefined) return "–";
    const amount = BigInt(micro), size = amount < 0n ? -amount : amount;
    const parts = String(size % 1_000_000n).padStart(6, "0").replace(/0{1,4}$/, "");
    return `${amount < 0n ? "-" : ""}${(size / 1_000_000n).toLocaleString("en")}.${parts}`;
  },
  ms(n) {
    if (n === null || n === undefined) return "–";
    return n < 1000 ? `${Math.round(n)} ms` : `${(n / 1000).toFixed(n < 10_000 ? 2 : 1)} s`;
  },
  when(unixS) {
    return unixS ? new Date(unixS * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }) : "–";
  },
  time(unixS) {
    const at = new Date(unixS * 1000);
    return [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
  },
  ago(unixS) {
    const s = Math.max(0, Date.now() / 1000 - unixS);
    const [size, unit] = s < 60 ? [1, "s"] : s < 3600 ? [60, "min"] : s < 86_400 ? [3600, "h"] : [86_400, "d"];
    return `${Math.floor(s / size)} ${unit} ago`;
  },
  left(seconds) {
    const s = Math.max(0, Math.ceil(seconds)), min = Math.floor(s / 60);
    if (s < 60) return `${s} s`;
    return s < 3600 ? `${min} min ${two(s % 60)} s` : `${Math.floor(min / 60)} h ${two(min % 60)} min`;
  },
};

/** A table that scrolls sideways by itself: `columns` are `{head, cell: row => node or text, class}`. */
export function table(columns, rows, { empty = "Nothing yet.", caption } = {}) {
  const line = (cells) => h("tr", {}, cells);
  const head = line(columns.map((column) => h("th", { scope: "col", class: column.class }, column.head)));
  const body = rows.map((row) => line(columns.map((column) => h("td", { class: column.class }, column.cell(row)))));
  const none = line(h("td", { colspan: columns.length, class: "quiet" }, empty));
  const said = caption ? h("caption", {}, caption) : null;
  const whole = h("table", {}, said, h("thead", {}, head), h("tbody", {}, body.length ? body : none));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption ?? "Table" }, whole);
}

/** A screen: the shell calls `show(rest)` with what stands behind its name in the address, and `hide()`. */
export class Screen extends HTMLElement {
  timers = new Set();

  async show() {}

  hide() {
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
  }

  /** Do `work` now and again `ms` after it ended, while the screen is shown and the page is looked at. */
  every(ms, work) {
    let timer = null, said = null;
    const again = (wait) => {
      this.timers.delete(timer);
      timer = setTimeout(once, wait);
      this.timers.add(timer);
    };
    const once = async () => {
      const mine = timer;
      try {
        if (!document.hidden) await work();
        said?.remove();
      } catch (error) {
        said = this.complain(error, said);
      }
      if (this.timers.has(mine)) again(ms);
    };
    again(0);
  }

  /** Say on top of the screen what is wrong, instead of what was `said` before; the shell itself says the rest. */
  complain(error, said = this.trouble) {
    const found = trouble(error);
    said?.remove();
    const isSaid = found.kind === "gone" || found.kind === "stopped" || found.status === 401;
    this.trouble = isSaid ? null : troubleBox(found);
    if (this.trouble) this.prepend(this.trouble);
    return this.trouble;
  }
}
