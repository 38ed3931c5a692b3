// The frame around the screens: the address, who is logged in, whether the gateway is there, light and dark.
import { base, gone, login, logout, resume, session, trouble } from "./api.js";
import { ask, button, field, fill, h, icon, say, troubleBox } from "./elements.js";

const SCREENS = { chat: "Chat", dialects: "Dialects", operate: "Operate" };
const RETRY_MS = 1500;
const made = new Map();
let shown = null;

const navigation = h("nav", { "aria-label": "Screens" });
const account = h("div", { class: "row" });
const bar = h("div", { id: "connection", role: "status" });
const place = h("main", { id: "screen" });

function frame() {
  const drawing = h("img", { src: "page/icon.svg", alt: "", width: "24", height: "24" });
  const brand = h("a", { class: "brand", href: "#/chat" }, drawing, "Dragoman");
  const skip = h("a", { class: "skip", href: "#screen", on: { click: toScreen } }, "Skip to the screen");
  const notices = h("div", { id: "notices", "aria-live": "polite" });
  document.body.append(skip, h("header", {}, brand, navigation, account), bar, place, notices);
}

function toScreen(event) {
  event.preventDefault();
  place.querySelector("textarea, input, button, a")?.focus();
}

// --- light and dark

function theme(next) {
  if (next) localStorage.setItem("dragoman-theme", next);
  const chosen = localStorage.getItem("dragoman-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
  return chosen ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

function themeButton() {
  const other = () => (theme() === "dark" ? "light" : "dark");
  const draw = () => fill(node, icon(other() === "light" ? "sun" : "moon"));
  const change = () => { theme(other()); draw(); };
  const node = button("", change, { icon: "sun", kind: "quiet", title: "Light or dark" });
  return draw();
}

// --- who is logged in

let known = null;

function drawAccount() {
  known = session.principal;
  const screens = Object.entries(SCREENS).filter(([name]) => name !== "operate" || session.role === "admin");
  const [here] = placeOf(location.hash);
  const link = ([name, label]) => h("a", { href: `#/${name}`, "aria-current": name === here ? "page" : null }, label);
  fill(navigation, screens.map(link));
  const leave = () => logout().catch((error) => say(trouble(error).message, "bad"));
  const who = session.principal && [
    h("span", { class: "tag who", title: `Logged in as ${session.principal}` }, session.principal),
    button("", leave, { icon: "out", kind: "quiet", title: "Log out" }),
  ];
  fill(account, h("a", { class: "quiet wide", href: "docs", target: "_blank" }, "API"), themeButton(), who);
}

let asking = null;

/** Ask who is there, over whatever is on the screen: nothing that was typed is lost. */
function askLogin(reason) {
  asking ??= loginDialog(reason).finally(() => { asking = null; });
  return asking;
}

async function loginDialog(reason) {
  const key = h("input", { type: "password", autocomplete: "off", spellcheck: "false", name: "key" });
  const name = h("input", { autocomplete: "username", name: "name" });
  const password = h("input", { type: "password", autocomplete: "current-password", name: "password" });
  const summary = h("summary", {}, "With a name and a password");
  const byName = h("details", {}, summary, field("Name", name), field("Password", password));
  const byKey = field("Key", key, { hint: "A key of this gateway, such as the one that it printed when it started." });
  const byLink = h("p", { class: "quiet" }, "Or open a link that logs in once: `dragoman link` prints one.");
  const body = h("div", { class: "column" }, h("p", {}, reason), byKey, byName, byLink);
  const shown = () => (name.value ? { name: name.value, password: password.value } : { key: key.value.trim() });
  const onsubmit = () => login(shown());
  while (!session.principal) await ask({ title: "Log in", body, submit: "Log in", cancel: null, onsubmit });
}

async function enter() {
  const [name, code] = placeOf(location.hash);
  if (name !== "login") {
    if (!await resume()) await askLogin("This is the page of a Dragoman gateway.");
    return;
  }
  // Taken out of the address first: it is a secret until it was used.
  history.replaceState(null, "", "#/chat");
  try {
    await login({ link: code });
  } catch (error) {
    const why = trouble(error);
    if (why.kind === "gone") throw why;
    if (!await resume()) await askLogin(why.message);
  }
}

// --- which screen

/** The screen's name and what stands behind it. */
function placeOf(hash) {
  const [, name = "", rest = ""] = /^#\/([^/]*)\/?(.*)$/.exec(hash) ?? [];
  return [name || "chat", rest];
}

async function route() {
  const [name, rest] = placeOf(location.hash);
  if (name === "login") return begin();
  if (!Object.hasOwn(SCREENS, name)) { location.hash = "#/chat"; return; }
  document.title = `${SCREENS[name]} · Dragoman`;
  try {
    const screen = await screenOf(name);
    // Somebody who was quicker than the network is elsewhere by now.
    if (placeOf(location.hash).join() !== [name, rest].join()) return;
    if (shown !== screen) {
      shown?.hide();
      if (shown) shown.hidden = true;
      screen.hidden = false;
      shown = screen;
    }
    drawAccount();
    await screen.show(rest);
  } catch (error) {
    say(`${trouble(error).message} ${trouble(error).advice}`, "bad");
  }
}

async function screenOf(name) {
  if (!made.has(name)) {
    await import(`./${name}.js`).catch(async (error) => { throw await isThere() ? error : gone(); });
    const screen = document.createElement(`dragoman-${name}`);
    made.set(name, screen);
    place.append(screen);
  }
  return made.get(name);
}

// --- whether the gateway is there

let waiting = false;

async function waitForGateway() {
  if (waiting) return;
  waiting = true;
  const said = h("strong", {}, "The gateway does not answer.");
  fill(bar, h("div", { class: "trouble" }, said, " What you typed stays here. Trying again …"));
  while (!await isThere()) await new Promise((resolve) => { setTimeout(resolve, RETRY_MS); });
  waiting = false;
  fill(bar);
  say("The gateway is back.", "good");
  dispatchEvent(new Event("dragoman:back"));
}

async function isThere() {
  try {
    return (await fetch(new URL("./health/live", base), { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

// --- from the first moment on

let begun = false;

async function begin() {
  try {
    await enter();
  } catch (error) {
    fill(place, troubleBox(error, { retry: () => { fill(place, ...made.values()); begin(); } }));
    addEventListener("dragoman:back", begin, { once: true });
    return;
  }
  if (!begun) addEventListener("hashchange", route);
  begun = true;
  fill(place, ...made.values());
  drawAccount();
  await route();
}

addEventListener("dragoman:gone", waitForGateway);
addEventListener("dragoman:over", async (event) => {
  const before = known;
  await askLogin(event.detail);
  // What stands on the screens is for whom it was read.
  if (before !== session.principal) return location.reload();
  drawAccount();
  await route();
});
theme();
frame();
begin();
