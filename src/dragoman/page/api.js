// The gateway's documented interfaces, as the page uses them: one key that renews itself, and one kind of error.

/** Where the gateway is; a proxy may serve it below a path of its own. */
export const base = new URL(".", document.baseURI);
export const origin = base.href.replace(/\/$/, "");

/** Who is logged in; nulls when nobody is. The token is kept here and nowhere else. */
export const session = { principal: null, role: null, csrf: null, token: null };

const ADVICE = {
  401: "Log in again with a key that is valid.",
  402: "Ask an operator for a larger budget, or wait until it begins anew.",
  403: "Use a key that may do this, or ask an operator.",
  404: "It may have been deleted, or belong to somebody else.",
  409: "Something of the same kind is under way or was changed meanwhile: try again in a moment.",
  413: "Send less at once.",
  429: "Wait a little, then try again.",
  503: "Try again in a moment; operators see the reason under Operate.",
};
const KINDS = { 401: "revoked", 429: "busy", 503: "busy" };
const RENEW_BEFORE_S = 60;

/** What went wrong, in words for people: `message` is what happened, `advice` what to do. */
export class Trouble extends Error {
  constructor(message, { kind = "refused", advice = "", status = 0, code = "", field = "", retryAfterS = null } = {}) {
    super(message);
    Object.assign(this, { kind, advice, status, code, field, retryAfterS });
  }
}

/** Any thrown thing as a Trouble; the browser's own texts say nothing that helps. */
export function trouble(error) {
  if (error instanceof Trouble) return error;
  if (error?.name === "AbortError") return new Trouble("This was stopped.", { kind: "stopped" });
  return new Trouble(String(error?.message ?? error), { kind: "broken", advice: "Reload the page and try again." });
}

/** Say to the whole page that the gateway does not answer, and return the Trouble for it. */
export function gone() {
  dispatchEvent(new Event("dragoman:gone"));
  const advice = "Is it running? This page goes on by itself as soon as it answers.";
  return new Trouble("The gateway does not answer.", { kind: "gone", advice });
}

/** Read a refusal: the gateway's own routes have OpenAI's shape, others are shown as they are. */
async function refusal(response) {
  const text = await response.text().catch(() => "");
  let said = {};
  try {
    const tree = JSON.parse(text);
    said = tree.error ?? tree;
  } catch { /* not JSON: the text itself is all there is */ }
  const status = response.status;
  const wait = response.headers.get("retry-after");
  const retryAfterS = wait === null || !Number.isFinite(Number(wait)) ? null : Number(wait);
  const kind = KINDS[status] ?? (status >= 500 ? "broken" : "refused");
  const message = said.message ?? said.detail ?? (text.slice(0, 300) || `The gateway answered ${status}.`);
  const advice = retryAfterS ? `Try again in ${Math.ceil(retryAfterS)} s.` : ADVICE[status] ?? lastAdvice(response);
  const { code = "", param: field = "" } = said;
  return new Trouble(String(message), { kind, advice, status, code, field, retryAfterS });
}

function lastAdvice({ status, headers }) {
  if (status < 500) return "";
  return `Try again. If it goes on, the log has it as request ${headers.get("x-request-id") ?? "?"}.`;
}

/** Fetch a path of the gateway. Throws Trouble when it cannot be reached, never for a status. */
async function reach(path, options) {
  try {
    return await fetch(new URL(`.${path}`, base), { credentials: "same-origin", cache: "no-store", ...options });
  } catch (error) {
    throw error?.name === "AbortError" ? trouble(error) : gone();
  }
}

// Browsers send a cookie to every port of a host, and keep this for one origin: each is worth nothing alone.
const PROOF = "dragoman-proof";
/** What shows that a request is the page's own; all tabs have the same. */
const proof = () => ({ headers: { "X-CSRF-Token": localStorage.getItem(PROOF) ?? "" } });
const asJson = (body) => ({ body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });

async function readSession(path, options) {
  const response = await reach(path, options);
  if (!response.ok) throw await refusal(response);
  const said = await response.json();
  // Another tab has logged in as somebody else: show nothing of whose page this was.
  if (session.principal && session.principal !== said.principal) location.reload();
  Object.assign(session, said);
  localStorage.setItem(PROOF, said.csrf);
}

/** Log in by `{link}`, `{key}` or `{name, password}`. Throws Trouble. */
export async function login(what) {
  await readSession("/api/session", { method: "POST", ...asJson(what) });
  dispatchEvent(new Event("dragoman:login"));
}

/** Go on with the session that the browser's cookie stands for. Returns whether there is one. */
export async function resume() {
  try {
    await readSession("/api/session", proof());
    await renew();
    return true;
  } catch (error) {
    if (error.kind === "revoked" || error.status === 403) return false;
    throw error;
  }
}

/** Log out, and leave nothing on the screen or in this tab of who was here. */
export async function logout() {
  await reach("/api/session", { method: "DELETE", ...proof() });
  localStorage.removeItem(PROOF);
  sessionStorage.clear();
  location.reload();
}

function over(reason) {
  Object.assign(session, { principal: null, role: null, csrf: null, token: null });
  dispatchEvent(new CustomEvent("dragoman:over", { detail: reason }));
}

let renewing = null;

/** Get a fresh token; many who ask at once get the same one. */
function renew() {
  const asked = () => readSession("/api/session/token", { method: "POST", ...proof() });
  renewing ??= asked().finally(() => { renewing = null; });
  return renewing;
}

/** A bearer secret that is valid now. Throws Trouble, and has the page ask for a login when the session is over. */
export async function currentKey() {
  if (!session.csrf) throw new Trouble("Nobody is logged in.", { kind: "revoked", advice: ADVICE[401], status: 401 });
  const { token } = session;
  if (!token || token.expires - RENEW_BEFORE_S < Date.now() / 1000) await renew().catch(ended);
  return session.token.secret;
}

function ended(error) {
  if (error.status === 401 || error.status === 403) over("Your session is over: its key was revoked, or has expired.");
  throw error;
}

/** Send a request with the page's key, or with `key`; "" sends none. Only the page's own key is renewed. */
async function send(path, { key, headers = {}, ...rest }) {
  const secret = key ?? await currentKey();
  const shown = secret ? { Authorization: `Bearer ${secret}`, ...headers } : headers;
  const response = await reach(path, { ...rest, headers: shown });
  if (response.status !== 401 || key !== undefined) return response;
  session.token = null;
  const fresh = await currentKey();
  const again = await reach(path, { ...rest, headers: { ...shown, Authorization: `Bearer ${fresh}` } });
  if (again.status === 401) over("Your key is not valid any more.");
  return again;
}

/** Ask for JSON. Returns what was answered, null for nothing. Throws Trouble. */
export async function call(method, path, { body, query, signal } = {}) {
  const given = Object.entries(query ?? {}).filter(([, value]) => (value ?? "") !== "");
  const suffix = given.length ? `?${new URLSearchParams(given)}` : "";
  const response = await send(path + suffix, { method, signal, ...(body === undefined ? {} : asJson(body)) });
  if (!response.ok) throw await refusal(response);
  if (response.status === 204) return null;
  return response.json().catch((error) => { throw trouble(error); });
}

/** Begin a request whose answer is read as it comes. Throws Trouble unless its status is good. */
export async function openStream(path, { method = "POST", body, headers = {}, signal, key } = {}) {
  const plain = body === undefined || typeof body === "string" ? { body } : asJson(body);
  const response = await send(path, { method, signal, key, ...plain, headers: { ...plain.headers, ...headers } });
  if (!response.ok) throw await refusal(response);
  return response;
}

/** The answer's text in pieces. A connection that breaks is a Trouble of kind "cut". */
export async function* pieces(response) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      yield decoder.decode(value, { stream: true });
    }
  } catch (error) {
    if (error?.name === "AbortError") throw trouble(error);
    const advice = "What had arrived is kept. Try again.";
    throw new Trouble("The connection was cut in mid-answer.", { kind: "cut", advice });
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Server-sent events as they come (WHATWG HTML, 9.2): `{event, data, id, raw}`. Throws as `pieces`. */
export async function* events(response) {
  let rest = "";
  for await (const piece of pieces(response)) {
    const blocks = (rest + piece).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const raw of blocks) yield eventOf(raw);
  }
  if (rest.trim()) yield eventOf(rest);
}

function eventOf(raw) {
  const found = { event: "message", data: "", id: "", raw };
  const data = [];
  for (const line of raw.split(/\r?\n/)) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === "data") data.push(value);
    else if (name === "event" || name === "id") found[name] = value;
  }
  found.data = data.join("\n");
  return found;
}
