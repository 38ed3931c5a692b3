// The pool as it is now: providers, their credentials and models, and how fast they answer.
import { Trouble, call, trouble } from "./api.js";
import { ask, button, field, fill, format, h, say, table } from "./elements.js";
import { facts, mark, mono } from "./operate.js";

const POLL_MS = 1000;
const PATIENCE_MS = 5000;
const MOST_NAMES = 12;
const REASONS = {
  upstream_busy: "the provider asked to wait",
  upstream_credential: "the provider rejects it",
  rate_limited: "its own limits are used up",
};
const LIMITS = Object.entries({
  requests_per_minute: "requests/min", tokens_per_minute: "tokens/min",
  requests_per_day: "requests/day", parallel: "at once",
});

const percent = (share) => (share === null ? "–" : `${(share * 100).toFixed(share > 0 && share < 0.01 ? 1 : 0)} %`);
const spread = (pair) => (pair ? `${format.ms(pair.median)} / ${format.ms(pair.p99)}` : "–");
const isOpen = (target) => target.opens_s > 0;

function limitsOf(limits) {
  const isSet = ([name]) => limits[name] !== null;
  return LIMITS.filter(isSet).map(([name, unit]) => `${format.count(limits[name])} ${unit}`).join(", ") || "none";
}

/** How a provider does, `[kind, word, sentence]`; the worst that is known of it counts. */
function health({ state, credentials, targets }) {
  const said = state.replace(/^(down: |up, but )/, "");
  if (state.startsWith("down")) return ["bad", "Down", said];
  const open = targets.filter(isOpen);
  if (open.length && open.length === targets.length) return ["bad", "Failing", "Each of its models is in a pause."];
  const isResting = credentials.length > 0 && credentials.every(({ rests_s: left }) => left > 0);
  if (isResting) return ["warn", "Resting", "Every credential rests."];
  if (state.startsWith("up, but")) return ["warn", "Up, but", said];
  if (open.length) return ["warn", "Up, in part", ""];
  return state === "up" ? ["good", "Up", ""] : ["warn", "Not asked yet", ""];
}

function restOf({ rests_s: left, why }) {
  if (!left) return mark("good", "up");
  return [mark("warn", `resting, ${Math.ceil(left)} s left`), " ", h("span", { class: "quiet" }, REASONS[why] ?? why)];
}

const CREDENTIALS = [
  { head: "Credential", cell: (row) => mono(row.last_four ? `…${row.last_four}` : "none needed") },
  { head: "State", cell: restOf },
  { head: "Weight", cell: (row) => String(row.weight), class: "number" },
  { head: "Limits", cell: (row) => limitsOf(row.limits) },
];

/** Models in a pause one by one; of those that are tried as usual the names are enough. */
function modelsOf(targets) {
  const open = targets.filter(isOpen).map(({ model, opens_s: left }) =>
    h("li", {}, mono(model), " ", mark("bad", `open: tried again in ${Math.ceil(left)} s`)));
  const names = targets.filter((target) => !isOpen(target)).map(({ model }) => model);
  const more = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : "";
  const usual = [mark("good", "as usual"), " ", mono(names.slice(0, MOST_NAMES).join(", ")), more];
  return h("ul", { class: "models", "aria-label": "Models" }, open, names.length ? h("li", {}, usual) : null);
}

function bodyOf(provider) {
  const [kind, word, sentence] = health(provider);
  const { name, credentials, targets } = provider;
  return [
    h("p", { class: "state" }, mark(kind, word), " ", sentence),
    facts([
      ["Failed", percent(provider.failed_share)], ["Waiting in the queue", format.count(provider.waiting)],
      ["First byte, median / p99", spread(provider.first_byte_ms)],
      ["Between chunks, median / p99", spread(provider.between_chunks_ms)],
    ]),
    credentials.length ? table(CREDENTIALS, credentials, { caption: `Credentials of ${name}` }) : null,
    targets.length ? modelsOf(targets) : null,
  ];
}

async function checkCredential(name) {
  const input = h("input", { type: "password", autocomplete: "off", required: true, spellcheck: "false" });
  const body = field("Credential", input, { hint: "It is sent to the provider once and kept nowhere." });
  const onsubmit = async () => {
    const path = `/api/admin/pool/${encodeURIComponent(name)}/check`;
    const found = await call("POST", path, { body: { credential: input.value } });
    input.value = "";
    const advice = "Check what was pasted, or ask the provider for another.";
    if (!found.is_good) throw new Trouble(found.message || "The provider refuses it.", { code: found.code, advice });
    const models = `${found.models.length} ${found.models.length === 1 ? "model" : "models"} listed`;
    say(`The credential is good: ${models}, in ${format.ms(found.ms)}.`, "good");
  };
  await ask({ title: `Check a credential of ${name}`, body, submit: "Check", onsubmit });
  input.value = "";
}

function cardOf(name, kind) {
  const title = h("h2", {}, name, " ", h("span", { class: "quiet" }, kind));
  const open = () => checkCredential(name);
  const check = kind === "echo" ? null : button("Check a credential", open, { icon: "key", kind: "quiet" });
  return h("article", { class: "card provider" }, h("div", { class: "row head" }, title, check), h("div"));
}

/** Make `old` look like `fresh`; what is the same stays in place, so that focus and selection survive. */
function settle(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  const [parts, others] = [[...old.childNodes], [...fresh.childNodes]];
  const isAlike = old.nodeName === fresh.nodeName && old.className === fresh.className;
  const isShaped = isAlike && parts.length > 0 && parts.length === others.length;
  if (isShaped) parts.forEach((part, place) => settle(part, others[place]));
  else old.replaceWith(fresh);
}

function journalLine({ lag_bytes: bytes, lag_s: seconds, skipped, trouble: wrong }) {
  const broken = skipped ? `; ${format.count(skipped)} broken records were skipped` : "";
  const ahead = `${format.count(bytes)} bytes and ${seconds.toFixed(1)} s ahead of the store`;
  const kind = wrong ? "bad" : skipped ? "warn" : "good";
  return [mark(kind, "Journal"), ` ${wrong || (bytes ? ahead : "saved in full")}${broken}`];
}

function show(providers, cards, grid) {
  for (const provider of providers) {
    if (!cards.has(provider.name)) cards.set(provider.name, cardOf(provider.name, provider.kind));
    const card = cards.get(provider.name);
    card.dataset.health = health(provider)[0];
    settle(card.lastElementChild, h("div", { class: "column" }, bodyOf(provider)));
  }
  const nodes = providers.map(({ name }) => cards.get(name));
  // Only new cards move: others would lose the focus.
  if (nodes.some((node, place) => grid.children[place] !== node)) fill(grid, nodes);
}

/** The tab of the providers. */
export default function tab(screen) {
  const cards = new Map();
  const status = h("p", { class: "quiet updated" }, "Asking …");
  const journal = h("p", { class: "journal" });
  const grid = h("div", { class: "providers" });
  let seen = "";
  const poll = async () => {
    // A gateway that hangs is as good as none.
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const get = (path) => call("GET", path, { signal });
    try {
      const [pool, state] = await Promise.all([get("/api/admin/pool"), get("/api/admin/journal")]);
      show(pool.providers, cards, grid);
      fill(journal, journalLine(state));
      seen = format.time(Date.now() / 1000);
      fill(status, `Updated ${seen}, as the process that answers sees it.`);
      grid.classList.remove("stale");
    } catch (error) {
      grid.classList.add("stale");
      const isThere = Boolean(trouble(error).status);
      fill(status, isThere ? "Not updated" : "No connection", seen ? ` since ${seen}.` : ".");
      if (isThere) throw error;
    }
  };
  screen.every(POLL_MS, poll);
  return h("div", { class: "column" }, h("div", { class: "row head" }, journal, status), grid);
}
