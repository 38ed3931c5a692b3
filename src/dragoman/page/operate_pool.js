// The pool as it is now: providers, their credentials and models, and how fast they answer.
import { Trouble, call } from "./api.js";
import { ask, button, field, format, h, say, table } from "./elements.js";
import { limitWords } from "./operate_form.js";
import { facts, mark, mono, quiet, read, redraw } from "./operate_view.js";

const PATH = "/api/admin/pool";
const MOST_NAMES = 12;
const REASONS = {
  upstream_busy: "the provider asked to wait",
  upstream_credential: "the provider rejects it",
  rate_limited: "its own limits are used up",
};
const CREDENTIALS = [
  { head: "Credential", cell: (row) => mono(row.last_four ? `…${row.last_four}` : "not shown") },
  { head: "State", cell: restOf },
  { head: "Weight", cell: (row) => String(row.weight), class: "number" },
  { head: "Limits", cell: (row) => limitWords(row.limits) },
];

const percent = (share) => (share === null ? "–" : `${(share * 100).toFixed(share > 0 && share < 0.01 ? 1 : 0)} %`);
const spread = (pair) => (pair ? `${format.ms(pair.median)} / ${format.ms(pair.p99)}` : "–");
const isOpen = (target) => target.opens_s > 0;

/** The tab of the providers. */
export default function pool() {
  const cards = h("div", { class: "providers" });
  const foot = h("p", { class: "quiet" });
  const load = async () => {
    const [{ providers }, journal] = await Promise.all([read(PATH), read("/api/admin/journal")]);
    redraw(cards, providers.map(cardOf));
    redraw(foot, [journalOf(journal), " All of this as the process sees it that answered just now."]);
  };
  return { node: h("div", { class: "column" }, cards, foot), load, everyMs: 1000 };
}

/** How far what is stored is behind what was done. */
function journalOf({ lag_s: lag, skipped, trouble }) {
  if (trouble) return mark("bad", `The store does not keep up: ${trouble}`);
  if (skipped) return mark("bad", `${skipped} broken records were skipped.`);
  return mark("good", lag > 5 ? `The store is ${format.left(lag)} behind.` : "All calls are stored.");
}

function cardOf(provider) {
  const { name, kind, credentials, targets } = provider;
  const [health, word, sentence] = healthOf(provider);
  const check = button("Check a credential", () => checkCredential(name),
    { icon: "key", kind: "quiet", title: `Ask ${name} whether it takes a credential` });
  return h("article", { class: "card column provider", data: { health } },
    h("div", { class: "row between" }, h("h2", {}, name, " ", quiet(kind)), kind === "echo" ? null : check),
    h("p", { class: "state" }, mark(health, word), " ", sentence),
    facts([
      ["Failed", percent(provider.failed_share)], ["Waiting in the queue", format.count(provider.waiting)],
      ["First byte, median / p99", spread(provider.first_byte_ms)],
      ["Between chunks, median / p99", spread(provider.between_chunks_ms)],
    ]),
    credentials.length ? table(CREDENTIALS, credentials, { caption: `Credentials of ${name}` }) : null,
    targets.length ? modelsOf(targets) : null);
}

/** How a provider does, `[kind, word, sentence]`; the worst that is known of it counts. */
function healthOf({ state, credentials, targets }) {
  const said = state.replace(/^(down: |up, but )/, "");
  const paused = targets.filter(isOpen).length;
  const isResting = credentials.length > 0 && credentials.every(({ rests_s: left }) => left > 0);
  const cases = [
    [state.startsWith("down"), "bad", "Down", said],
    [paused && paused === targets.length, "bad", "Failing", "Each of its models is in a pause."],
    [isResting, "warn", "Resting", "Every credential rests."],
    [state.startsWith("up, but"), "warn", "Up, but", said],
    [paused, "warn", "Up, in part", ""],
    [state === "up", "good", "Up", ""],
    [true, "warn", "Not asked yet", ""],
  ];
  return cases.find(([holds]) => holds).slice(1);
}

function restOf({ rests_s: left, why }) {
  if (!left) return mark("good", "up");
  return [mark("warn", `resting, ${Math.ceil(left)} s left`), " ", quiet(REASONS[why] ?? why)];
}

/** Models in a pause one by one; of those that are tried as usual the names are enough. */
function modelsOf(targets) {
  const open = targets.filter(isOpen).map(({ model, opens_s: left }) =>
    h("li", {}, mono(model), " ", mark("bad", `open: tried again in ${Math.ceil(left)} s`)));
  const names = targets.filter((target) => !isOpen(target)).map(({ model }) => model);
  const more = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : "";
  const usual = [mark("good", "as usual"), " ", mono(names.slice(0, MOST_NAMES).join(", ")), more];
  return h("ul", { class: "plain", "aria-label": "Models" }, open, names.length ? h("li", {}, usual) : null);
}

async function checkCredential(name) {
  const input = h("input", { type: "password", autocomplete: "off", required: true, spellcheck: "false" });
  const body = field("Credential", input, { hint: "It is sent to the provider once and kept nowhere." });
  const onsubmit = async () => {
    const credential = input.value;
    input.value = "";
    const found = await call("POST", `${PATH}/${encodeURIComponent(name)}/check`, { body: { credential } });
    const advice = "Check what was pasted, or ask the provider for another.";
    if (!found.is_good) throw new Trouble(found.message || "The provider refuses it.", { code: found.code, advice });
    const models = `${found.models.length} ${found.models.length === 1 ? "model" : "models"} listed`;
    say(`The credential is good: ${models}, in ${format.ms(found.ms)}.`, "good");
  };
  await ask({ title: `Check a credential of ${name}`, body, submit: "Check", onsubmit });
}
