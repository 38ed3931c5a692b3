// The configuration as it is in force: each value with where it came from; of secrets only whether they are set.
import { h, table } from "./elements.js";
import { quiet, read, redraw } from "./operate_view.js";

const COLUMNS = [
  { head: "Key", cell: (row) => row.key, class: "mono" },
  { head: "Value", cell: valueOf, class: "mono value" },
  { head: "Origin", cell: (row) => (row.origin === "default" ? quiet(row.origin) : row.origin) },
];

/** The tab of the settings. */
export default function settings() {
  const place = h("div");
  let rows = [];
  const draw = () => {
    const shown = rows.filter((row) => !only.checked || row.origin !== "default");
    redraw(place, table(COLUMNS, shown, { caption: "Settings" }));
  };
  const load = async () => {
    rows = (await read("/api/admin/settings")).settings;
    draw();
  };
  const only = h("input", { type: "checkbox", on: { change: draw } });
  const switches = h("label", { class: "row" }, only, "Only what differs from the default");
  // A configuration changes with a start of the gateway.
  return { node: h("div", { class: "column configuration" }, switches, place), load, everyMs: 60_000 };
}

function valueOf(row) {
  if (row.is_secret) return h("span", { class: row.value ? "tag good" : "tag" }, row.value ? "set" : "not set");
  return row.value === "" ? quiet("empty") : row.value;
}
