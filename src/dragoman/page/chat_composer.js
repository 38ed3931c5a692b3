// Where a question is written: text that grows, pictures, the model, and the settings of the next answer.
import { call, session, Trouble } from "./api.js";
import { button, field, fill, h, say, troubleBox } from "./elements.js";

const KINDS = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const LARGEST_PICTURE_BYTES = 10_000_000;
const TALLEST_PX = 260;
const MODEL = "dragoman-model";

const draftKey = (id) => `dragoman-draft-${session.principal}-${id || "new"}`;

/** A composer. `send` and `stop` are called for its buttons and keys. Its text outlives a reload. */
export function composer({ send, stop }) {
  const area = h("textarea", { rows: "1", "aria-label": "Message", placeholder: "Ask something…", dir: "auto" });
  const model = h("select", { "aria-label": "Model", on: { change: () => localStorage.setItem(MODEL, model.value) } });
  const go = button("", send, { icon: "send", kind: "primary", title: "Send (Enter)" });
  const halt = button("", stop, { icon: "stop", kind: "danger", title: "Stop (Escape)", hidden: true });
  const wrong = h("div");
  const options = settingsForm();
  const shown = pictureRow();
  let id = "";
  const put = (text, pictures) => {
    area.value = text;
    shown.put(pictures);
    grow(area);
  };
  const keep = () => sessionStorage.setItem(draftKey(id), area.value);
  area.addEventListener("input", () => { grow(area); keep(); });
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  const below = h("div", { class: "row between" }, h("div", { class: "row" }, shown.choose, model), go, halt);
  const node = h("div", { class: "composer" }, wrong, shown.list, area, below, options.node);
  takePictures(node, shown.add);
  return {
    node,
    area,
    pictures: shown.pictures,
    /** The settings of the next answer; null when something is wrong with them, which is said there. */
    settings: () => options.values({ model: model.value || undefined }),
    loadModels: () => loadModels(model),
    complain: (error) => fill(wrong, error && troubleBox(error)),
    busy(isBusy) { go.hidden = isBusy; halt.hidden = !isBusy; },
    open(conversation) {
      id = conversation;
      put(sessionStorage.getItem(draftKey(id)) ?? "", []);
    },
    /** What was written, taken out; it is kept until it is `saved`. */
    take() {
      const draft = { text: area.value, pictures: shown.pictures() };
      put("", []);
      return draft;
    },
    /** The draft of `from` is a message of the conversation `to` now. */
    saved(from, to) {
      sessionStorage.removeItem(draftKey(from));
      if (id !== from) return;
      id = to;
      keep();
    },
    /** What could not be sent is there again, before what was typed meanwhile. */
    giveBack(conversation, { text, pictures }) {
      if (id !== conversation) return;
      put([text, area.value].filter(Boolean).join("\n"), [...pictures, ...shown.pictures()]);
      keep();
    },
  };
}

function grow(area) {
  area.style.height = "auto";
  area.style.height = `${Math.min(area.scrollHeight + 2, TALLEST_PX)}px`;
}

// --- pictures

function pictureRow() {
  let pictures = [];
  const list = h("ul", { class: "thumbs", "aria-label": "Pictures" });
  const put = (addresses) => {
    pictures = addresses;
    fill(list, pictures.map((address, at) => {
      const title = `Remove picture ${at + 1}`;
      const away = button("", () => put(pictures.toSpliced(at, 1)), { icon: "close", title });
      return h("li", {}, h("img", { src: address, alt: `Picture ${at + 1}` }), away);
    }));
  };
  const add = async (files) => {
    for (const file of files) {
      await readPicture(file).then((address) => put([...pictures, address]), (error) => say(error.message, "bad"));
    }
  };
  const input = h("input", { type: "file", accept: KINDS.join(), multiple: true, class: "hidden" });
  input.setAttribute("aria-label", "Pictures to add");
  input.addEventListener("change", () => add([...input.files]).then(() => { input.value = ""; }));
  const title = "Add pictures (or paste, or drop them here)";
  const choose = [input, button("", () => input.click(), { icon: "image", kind: "quiet", title })];
  return { list, choose, pictures: () => pictures, put, add };
}

/** Pictures that are pasted or dropped; other things go on as they do. */
function takePictures(node, add) {
  const take = (event) => {
    const files = [...(event.clipboardData ?? event.dataTransfer).files];
    if (!files.length) return;
    event.preventDefault();
    add(files);
  };
  node.addEventListener("paste", take);
  node.addEventListener("drop", take);
  node.addEventListener("dragover", (event) => event.preventDefault());
}

/** A picture as a data URL. Rejects with a Trouble for what is none, or is too large. */
function readPicture(file) {
  return new Promise((resolve, reject) => {
    if (!KINDS.includes(file.type)) throw new Trouble(`${file.name}: pictures are PNG, JPEG, GIF or WebP.`);
    if (file.size > LARGEST_PICTURE_BYTES) throw new Trouble(`${file.name} is larger than 10 MB.`);
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

// --- the model and its settings

async function loadModels(select) {
  const { data } = await call("GET", "/v1/models");
  const chosen = select.value || localStorage.getItem(MODEL);
  fill(select, data.map(({ id }) => h("option", { value: id, selected: id === chosen }, id)));
}

function settingsForm() {
  const system = h("textarea", { rows: "2" });
  const temperature = h("input", { type: "number", min: "0", max: "2", step: "0.1", placeholder: "the model's own" });
  const tokens = h("input", { type: "number", min: "1", step: "1", placeholder: "no limit of yours" });
  const tools = h("textarea", { rows: "2", class: "mono", spellcheck: "false" });
  const toolsField = field("Tools", tools, { hint: "JSON, in OpenAI's shape: a list of functions." });
  const numbers = h("div", { class: "row" }, field("Temperature", temperature), field("Most tokens", tokens));
  const fields = h("div", { class: "column" }, field("System message", system), numbers, toolsField);
  const node = h("details", { class: "settings" }, h("summary", {}, "System message and settings"), fields);
  const given = (control, read) => (control.value.trim() ? read(control.value) : undefined);
  const values = (others) => {
    toolsField.complain("");
    Object.assign(others, { system: given(system, String), max_tokens: given(tokens, Number) });
    try {
      return { ...others, temperature: given(temperature, Number), tools: given(tools, JSON.parse) };
    } catch {
      node.open = true;
      toolsField.complain("The tools are not JSON.");
      return null;
    }
  };
  return { node, values };
}
