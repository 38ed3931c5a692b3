// Markdown of a model, as nodes: never as HTML. Everything takes time linear in the text: the depth of nesting is
// capped, no pattern is tried twice over the same stretch, and what is too deep stays the text that it is.
import { copyButton, h } from "./elements.js";

const DEEPEST_BLOCK = 8;
const OPEN_MARKS = 16;
const LONGEST_ADDRESS = 2000;
const LONGEST_RULE = 200;

const FENCE = /^ {0,3}(`{3,}|~{3,}) *([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|(\d{1,9})[.)])( +|$)/;
const BREAKS_IN = /^ {0,3}(?:[-*+]|1[.)]) +\S/;
const DELIMITERS = /^[ \t|:-]*-[ \t|:-]*$/;
const TOKEN = /\\[!-/:-@[-`{-~]|`+|\*+|_+|~~|!?\[|\]|<(?:https?:|mailto:)[^\s<>]+>|\bhttps?:\/\/[^\s<>()[\]*`"'|\\]+/g;
const TARGET = /^\([ \n]{0,3}(?:<([^<>\n]*)>|([^\s()<>]*(?:\([^\s()]*\)[^\s()]*)*))(?:[ \n]{1,3}"[^"]*")?[ \n]{0,3}\)/;
const ELEMENTS = { "*": "em", _: "em", "**": "strong", __: "strong", "~~": "del" };
const CONTROLS = /([\u202A-\u202E\u2066-\u2069]+)/;

/** Text as nodes: what would turn the direction of text around is shown by its name instead of being done. */
export function markedText(text) {
  return text.toWellFormed().split(CONTROLS).map((piece, at) => (at % 2 ? controlMark(piece) : piece));
}

function controlMark(run) {
  const name = `U+${run.codePointAt(0).toString(16).toUpperCase()}`;
  const label = run.length > 1 ? `${name} and ${run.length - 1} more` : name;
  return h("span", { class: "tag warn bidi", title: "A control for the direction of text: not obeyed" }, label);
}

/** A view of a text that grows: `update(text)` renders the last block again and keeps those before it. */
export function markdownView() {
  const node = h("div", { class: "markdown", dir: "auto" });
  let shown = "";
  let settled = 0;
  let open = 0;
  const update = (text) => {
    if (text === shown) return;
    if (!text.startsWith(shown)) settled = open = 0;
    while (node.childNodes.length > open) node.lastChild.remove();
    const lines = text.slice(settled).toWellFormed().split("\n");
    const found = blocks(lines.map((line) => untabbed(line)), 0);
    node.append(...found.map((block) => block.node));
    if (found.length) {
      open += found.length - 1;
      for (const line of lines.slice(0, found.at(-1).from)) settled += line.length + 1;
    }
    shown = text;
  };
  return { node, update };
}

function untabbed(line) {
  const clean = line.endsWith("\r") ? line.slice(0, -1) : line;
  return /^ *\t/.test(clean) ? clean.replace(/^[ \t]+/, (lead) => lead.replaceAll("\t", "    ")) : clean;
}

/** What begins a block, and what reads it. A rule may look like a list (`* * *`), so it is asked for first. */
const BLOCKS = [
  { begins: (line) => FENCE.test(line), read: fence },
  { begins: (line) => HEADING.test(line), read: heading },
  { begins: isRule, read: (lines, at) => ({ node: h("hr"), next: at + 1 }) },
  { begins: (line, next, depth) => depth < DEEPEST_BLOCK && QUOTE.test(line), read: quote },
  { begins: (line, next, depth) => depth < DEEPEST_BLOCK && ITEM.test(line), read: list },
  { begins: isTable, read: table },
];

function readerAt(lines, at, depth) {
  return BLOCKS.find(({ begins }) => begins(lines[at], lines[at + 1] ?? "", depth))?.read ?? paragraph;
}

/** The blocks of these lines: `{node, from}`, the first line of each. A reader returns `{node, next}`. */
function blocks(lines, depth) {
  const found = [];
  for (let at = 0; at < lines.length; ) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const { node, next } = readerAt(lines, at, depth)(lines, at, depth);
    found.push({ node, from: at });
    at = next;
  }
  return found;
}

const nodesOf = (lines, depth) => blocks(lines, depth).map((block) => block.node);
const isBlank = (line) => line.trim() === "";

/** From `at` on, the first line of which `isOver` is true, or where the lines end. */
function endOf(lines, at, isOver) {
  let end = at;
  while (end < lines.length && !isOver(lines[end], end)) end += 1;
  return end;
}

function fence(lines, at) {
  const [, marks, language] = FENCE.exec(lines[at]);
  const isLast = (line) => line.trim().startsWith(marks) && new Set(line.trim()).size === 1;
  const end = endOf(lines, at + 1, isLast);
  const lead = lines[at].search(/\S/);
  const code = lines.slice(at + 1, end).map((line) => outdented(line, lead)).join("\n");
  const label = h("span", {}, language.trim().slice(0, 40) || "text");
  const head = h("div", { class: "code-head" }, label, copyButton(code));
  const body = h("pre", { class: "code", tabindex: "0" }, h("code", {}, markedText(code)));
  return { node: h("div", { class: "code-block" }, head, body), next: end + 1 };
}

function heading(lines, at) {
  const [all, marks] = HEADING.exec(lines[at]);
  const text = lines[at].slice(all.length).trim().replace(/(?:^|[ \t])#+$/, "");
  // The page has its own first and second level.
  return { node: h(`h${Math.min(6, marks.length + 2)}`, {}, inline(text)), next: at + 1 };
}

function isRule(line) {
  return line.length < LONGEST_RULE && RULE.test(line);
}

function quote(lines, at, depth) {
  const next = endOf(lines, at, (line) => !QUOTE.test(line));
  const inner = lines.slice(at, next).map((line) => line.replace(QUOTE, ""));
  return { node: h("blockquote", {}, nodesOf(inner, depth + 1)), next };
}

function list(lines, at, depth) {
  const number = ITEM.exec(lines[at])[3];
  const node = h(number ? "ol" : "ul", number ? { start: String(Number(number)) } : {});
  let next = at;
  for (let item = itemAt(lines, at); item && Boolean(item[3]) === Boolean(number); item = itemAt(lines, next)) {
    const [, lead, mark, , gap] = item;
    const width = lead.length + mark.length + (gap.length > 4 ? 1 : gap.length);
    const end = endOfItem(lines, next + 1, lead.length + 2, depth);
    const inner = lines.slice(next + 1, end).map((line) => outdented(line, width));
    node.append(h("li", {}, nodesOf([lines[next].slice(width), ...inner], depth + 1)));
    next = end;
  }
  return { node, next };
}

const itemAt = (lines, at) => (at < lines.length && !isRule(lines[at]) ? ITEM.exec(lines[at]) : null);

function endOfItem(lines, from, indent, depth) {
  let end = from;
  for (let at = from; at < lines.length; at += 1) {
    if (isBlank(lines[at])) continue;
    const isLazy = end === at && !ITEM.test(lines[at]) && readerAt(lines, at, depth) === paragraph;
    if (lines[at].search(/\S/) < indent && !isLazy) break;
    end = at + 1;
  }
  // Blank lines between two items belong to the list.
  const after = endOf(lines, end, (line) => !isBlank(line));
  return itemAt(lines, after) ? after : end;
}

function outdented(line, width) {
  const lead = line.search(/\S/);
  return line.slice(lead < 0 ? width : Math.min(lead, width));
}

function cells(line) {
  const row = line.trim().replace(/^\|/, "");
  return (row.endsWith("|") ? row.slice(0, -1) : row).split(/(?<!\\)\|/).map((cell) => cell.trim());
}

function isTable(line, next) {
  return line.includes("|") && DELIMITERS.test(next) && cells(line).length === cells(next).length;
}

function table(lines, at) {
  const side = (cell) => (!cell.endsWith(":") ? "start" : cell.startsWith(":") ? "middle" : "end");
  const sides = cells(lines[at + 1]).map(side);
  const row = (tag, line) => {
    const said = cells(line);
    return h("tr", {}, sides.map((name, column) => h(tag, { class: name }, inline(said[column] ?? ""))));
  };
  const next = endOf(lines, at + 2, (line) => !line.includes("|"));
  const body = lines.slice(at + 2, next).map((line) => row("td", line));
  const node = h("table", {}, h("thead", {}, row("th", lines[at])), h("tbody", {}, body));
  return { node: h("div", { class: "table-scroll", tabindex: "0" }, node), next };
}

function paragraph(lines, at, depth) {
  const next = endOf(lines, at + 1, (line, to) => isBlank(line) || breaksIn(lines, to, depth));
  const text = lines.slice(at, next).map((line) => line.trim().replace(/\\$/, "")).join("\n");
  return { node: h("p", {}, inline(text)), next };
}

/** Whether a block begins in mid-paragraph; a list does so only with an item that has text, and a first number. */
function breaksIn(lines, at, depth) {
  const reader = readerAt(lines, at, depth);
  return reader === list ? BREAKS_IN.test(lines[at]) : reader !== paragraph;
}

// --- within a block: a stack of marks that were opened; what is never closed becomes the text that it is ---

function inline(source) {
  const frames = [{ mark: "", nodes: [] }];
  const scan = new RegExp(TOKEN);
  const closing = closings(source);
  let at = 0;
  for (let found = scan.exec(source); found; found = scan.exec(source)) {
    write(frames, source.slice(at, found.index));
    at = scan.lastIndex = take(frames, source, found[0], found.index, closing);
  }
  write(frames, source.slice(at));
  while (frames.length > 1) dissolve(frames, frames.length - 1);
  return shownNodes(frames[0].nodes);
}

const shownNodes = (nodes) => nodes.flatMap((node) => (typeof node === "string" ? markedText(node) : [node]));

function take(frames, source, token, at, closing) {
  const end = at + token.length;
  if (token[0] === "\\") write(frames, token[1]);
  else if (token[0] === "`") return code(frames, source, token, at, closing.get(at));
  else if (token[0] === "]") return closeBracket(frames, source, end);
  else if (token.endsWith("[")) open(frames, token);
  else if (token[0] === "<") writeLink(frames, token.slice(1, -1), token);
  else if (token[0] === "h") return bareLink(frames, token, at);
  else emphasis(frames, token, source[at - 1] ?? " ", source[end] ?? " ");
  return end;
}

function write(frames, piece) {
  const { nodes } = frames.at(-1);
  if (piece === "") return;
  if (typeof piece === "string" && typeof nodes.at(-1) === "string") nodes[nodes.length - 1] += piece;
  else nodes.push(piece);
}

function open(frames, mark) {
  if (frames.length > OPEN_MARKS) dissolve(frames, 1);
  frames.push({ mark, nodes: [] });
}

/** The mark of frame `at` was none: it and what follows it belong to the frame below. */
function dissolve(frames, at) {
  const [{ mark, nodes }] = frames.splice(at, 1);
  const below = frames.slice(0, at);
  write(below, mark);
  for (const node of nodes) write(below, node);
}

function emphasis(frames, run, before, after) {
  const isInWord = run[0] === "_" && /[\p{L}\p{N}]/u.test(before) && /[\p{L}\p{N}]/u.test(after);
  if (run.length > 3 || isInWord) return write(frames, run);
  let left = run;
  while (left && /\S/.test(before)) {
    const at = frames.findLastIndex(({ mark }) => mark.endsWith("[") || (mark && left.startsWith(mark)));
    if (at < 1 || frames[at].mark.endsWith("[")) break;
    while (frames.length - 1 > at) dissolve(frames, frames.length - 1);
    const { mark, nodes } = frames.pop();
    write(frames, h(ELEMENTS[mark], {}, shownNodes(nodes)));
    left = left.slice(mark.length);
  }
  const marks = left.length === 3 ? [left.slice(1), left[0]] : [left];
  for (const mark of left ? marks : []) /\S/.test(after) && ELEMENTS[mark] ? open(frames, mark) : write(frames, mark);
}

/** For each run of backticks, by where it begins: where the next one of its length does. */
function closings(source) {
  const closing = new Map();
  const open = new Map();
  for (const { 0: run, index } of source.matchAll(/`+/g)) {
    if (open.has(run.length)) closing.set(open.get(run.length), index);
    open.set(run.length, index);
  }
  return closing;
}

function code(frames, source, run, at, end) {
  if (end === undefined) {
    write(frames, run);
    return at + run.length;
  }
  const said = source.slice(at + run.length, end).replaceAll("\n", " ");
  const isPadded = said.startsWith(" ") && said.endsWith(" ") && said.trim() !== "";
  write(frames, h("code", {}, markedText(isPadded ? said.slice(1, -1) : said)));
  return end + run.length;
}

function safeAddress(text) {
  const url = text.length <= LONGEST_ADDRESS && URL.canParse(text) ? new URL(text) : null;
  return url && ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
}

function link(address, nodes) {
  const rel = "noopener noreferrer nofollow";
  const node = h("a", { href: address, title: address, target: "_blank", rel }, shownNodes(nodes));
  for (const inner of node.querySelectorAll("a")) inner.replaceWith(...inner.childNodes);
  return node;
}

function writeLink(frames, text, otherwise) {
  const address = safeAddress(text);
  write(frames, address ? link(address, [text]) : otherwise);
}

function bareLink(frames, token, at) {
  let length = token.length;
  while (".,:;!?_~".includes(token[length - 1])) length -= 1;
  writeLink(frames, token.slice(0, length), token.slice(0, length));
  return at + length;
}

function closeBracket(frames, source, end) {
  const at = frames.findLastIndex(({ mark }) => mark.endsWith("["));
  const target = at < 0 ? null : TARGET.exec(source.slice(end, end + LONGEST_ADDRESS + 100));
  const address = target && safeAddress(target[1] ?? target[2]);
  while (at > 0 && frames.length - 1 > at) dissolve(frames, frames.length - 1);
  if (!address) {
    if (at > 0) dissolve(frames, at);
    write(frames, "]");
    return end;
  }
  const { mark, nodes } = frames.pop();
  // An image of a model's choice is not fetched: its address could tell somebody what was read, and when.
  write(frames, mark === "![" ? link(address, ["Image: ", ...nodes]) : link(address, nodes));
  return end + target[0].length;
}
