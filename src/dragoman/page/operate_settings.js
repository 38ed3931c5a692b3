// The configuration as it is in force: each value with where it came from; of secrets only whether they are set.
import { call } from "./api.js";
import { fill, h, table, troubleBox } from "./elements.js";

/** The tab: a table that can be searched. It is read once: a configuration changes with a start. */
export default function tab() {
  const search = h("input", { type: "search", "aria-label": "Search settings", placeholder: "Key, value, origin …" });
  const only = h("input", { type: "checkbox" });
  const count = h("span", { class: "quiet", role: "status" });
  const place = h("div", {}, h("p", { class: "quiet" }, "Reading …"));
  let rows = [];
  const draw = () => {
    const found = rows.filter((row) => fits(row, search.value) && !(only.checked && row.origin === "default"));
    fill(count, `${found.length} of ${rows.length}`);
    fill(place, tableOf(found));
  };
  const load = async () => {
    try {
      rows = (await call("GET", "/api/admin/settings")).settings;
      draw();
    } catch (error) {
      fill(place, troubleBox(error, { retry: load }));
    }
  };
  search.addEventListener("input", draw);
  only.addEventListener("change", draw);
  load();
  const switches = h("label", { class: "row" }, only, "Only what differs from the default");
  return h("div", { class: "column configuration" }, h("div", { class: "row" }, search, switches, count), place);
}

function fits({ key, value, origin }, text) {
  return [key, value, origin].join("\n").toLowerCase().includes(text.trim().toLowerCase());
}

function tableOf(rows) {
  return table([
    { head: "Key", cell: (row) => row.key, class: "mono" },
    { head: "Value", cell: valueOf, class: "mono value" },
    { head: "Origin", cell: (row) => h("span", { class: row.origin === "default" ? "quiet" : "" }, row.origin) },
  ], rows, { empty: "No setting fits.", caption: "Settings" });
}

function valueOf(row) {
  if (row.is_secret) return h("span", { class: row.value ? "tag good" : "tag" }, row.value ? "set" : "not set");
  return row.value === "" ? h("span", { class: "quiet" }, "empty") : row.value;
}
