// Where a question is written: text that grows, pictures, the model, and the settings of the next answer.
import { call, session, Trouble } from "./api.js";
import { button, field, fill, h, say } from "./elements.js";

const KINDS = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const LARGEST_PICTURE_BYTES = 10_000_000;
const TALLEST_PX = 260;
const MODEL = "dragoman-model";

const draftKey = (id) => `dragoman-draft-${session.principal}-${id || "new"}`;

/** A composer. `send` and `stop` are called for its buttons and keys; `settings()` throws Trouble for a bad field. */
export function composer({ send, stop }) {
  const area = h("textarea", { rows: "1", "aria-label": "Message", placeholder: "Ask something…", dir: "auto" });
  const own = { pictures: [], id: "", area };
  const thumbs = h("ul", { class: "thumbs", "aria-label": "Pictures" });
  own.wrong = h("div");
  const model = h("select", { "aria-label": "Model", on: { change: () => localStorage.setItem(MODEL, model.value) } });
  const [picker, choose] = pictureButton((files) => addFiles(files));
  const go = button("", send, { icon: "send", kind: "primary", title: "Send (Enter)" });
  const halt = button("", stop, { icon: "stop", kind: "danger", title: "Stop (Escape)", hidden: true });
  const options = settingsForm();
  own.settings = () => ({ model: model.value || undefined, ...options.values() });
  own.loadModels = () => loadModels(model);
  own.busy = (isBusy) => { go.hidden = isBusy; halt.hidden = !isBusy; };
  const changed = () => { grow(area); drawThumbs(); keepDraft(own); };
  const drawThumbs = () => fill(thumbs, own.pictures.map((address, at) => h("li", {}, h("img", { src: address, alt: `Picture ${at + 1}` }),
    button("", () => { own.pictures.splice(at, 1); changed(); area.focus(); }, { icon: "close", title: `Remove picture ${at + 1}` }))));
  const addFiles = async (files) => {
    for (const file of files) await readPicture(file).then((address) => own.pictures.push(address), (error) => say(error.message, "bad"));
    changed();
  };
  own.set = (text, pictures) => { area.value = text; own.pictures = [...pictures]; changed(); };
  own.clear = () => { area.value = ""; own.pictures = []; grow(area); drawThumbs(); };
  own.open = (id) => { own.id = id; const kept = draftOf(id); area.value = kept.text; own.pictures = kept.pictures; grow(area); drawThumbs(); };
  own.saved = (id) => { sessionStorage.removeItem(draftKey(own.id)); own.id = id; keepDraft(own); };
  own.giveBack = (id, text, pictures) => {
    if (id !== own.id) return keep(id, { text, pictures });
    // What was typed meanwhile stays, after it.
    return own.set([text, area.value].filter(Boolean).join("\n"), [...pictures, ...own.pictures]);
  };
  area.addEventListener("input", changed);
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  own.node = h("form", { class: "composer", on: { submit: (event) => event.preventDefault() } }, own.wrong, thumbs, area,
    h("div", { class: "row between" }, h("div", { class: "row" }, choose, picker, model), h("div", { class: "row" }, go, halt)), options.node);
  takePictures(own.node, addFiles);
  return own;
}

function pictureButton(add) {
  const input = h("input", { type: "file", accept: KINDS.join(), multiple: true, class: "hidden", "aria-label": "Pictures to add" });
  input.addEventListener("change", () => { add([...input.files]); input.value = ""; });
  return [input, button("", () => input.click(), { icon: "image", kind: "quiet", title: "Add pictures (or paste, or drop them here)" })];
}

/** Pictures that are pasted or dropped; other things go on as they do. */
function takePictures(node, add) {
  const take = (event, transfer) => {
    const files = [...(transfer?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    add(files);
  };
  node.addEventListener("paste", (event) => take(event, event.clipboardData));
  node.addEventListener("dragover", (event) => event.preventDefault());
  node.addEventListener("drop", (event) => take(event, event.dataTransfer));
}

async function readPicture(file) {
  if (!KINDS.includes(file.type)) throw new Trouble(`${file.name}: pictures are PNG, JPEG, GIF or WebP.`);
  if (file.size > LARGEST_PICTURE_BYTES) throw new Trouble(`${file.name} is larger than 10 MB.`);
  const reader = new FileReader();
  const read = new Promise((resolve, reject) => { reader.onload = () => resolve(reader.result); reader.onerror = () => reject(reader.error); });
  reader.readAsDataURL(file);
  return read;
}

function grow(area) {
  area.style.height = "auto";
  area.style.height = `${Math.min(area.scrollHeight + 2, TALLEST_PX)}px`;
}

function keepDraft({ id, area, pictures }) {
  if (area.value || pictures.length) keep(id, { text: area.value, pictures });
  else sessionStorage.removeItem(draftKey(id));
}

function keep(id, draft) {
  try {
    sessionStorage.setItem(draftKey(id), JSON.stringify(draft));
  } catch {
    // There is room for a few megabytes only: the text matters most.
    if (draft.pictures.length) keep(id, { text: draft.text, pictures: [] });
  }
}

function draftOf(id) {
  const kept = sessionStorage.getItem(draftKey(id));
  return kept ? JSON.parse(kept) : { text: "", pictures: [] };
}

async function loadModels(select) {
  const { data } = await call("GET", "/v1/models");
  const chosen = select.value || localStorage.getItem(MODEL);
  fill(select, data.map(({ id }) => h("option", { value: id }, id)));
  if (data.some(({ id }) => id === chosen)) select.value = chosen;
}

function settingsForm() {
  const system = h("textarea", { rows: "2" });
  const temperature = h("input", { type: "number", min: "0", max: "2", step: "0.1", placeholder: "as the model has it" });
  const tokens = h("input", { type: "number", min: "1", step: "1", placeholder: "no limit of yours" });
  const tools = h("textarea", { rows: "2", class: "mono", spellcheck: "false", placeholder: '[{"type": "function", "function": {"name": …}}]' });
  const toolsField = field("Tools", tools, { hint: "JSON, in OpenAI's shape." });
  const node = h("details", { class: "settings" }, h("summary", {}, "System message and settings"), h("div", { class: "column" },
    field("System message", system), h("div", { class: "row" }, field("Temperature", temperature), field("Most tokens", tokens)), toolsField));
  const values = () => {
    toolsField.complain("");
    const number = (input) => (input.value === "" ? undefined : Number(input.value));
    try {
      const list = tools.value.trim() ? JSON.parse(tools.value) : undefined;
      return { system: system.value.trim() || undefined, temperature: number(temperature), max_tokens: number(tokens), tools: list };
    } catch {
      node.open = true;
      toolsField.complain("This is not JSON.");
      throw new Trouble("The tools are not JSON.", { advice: "Mend or empty the field below." });
    }
  };
  return { node, values };
}
