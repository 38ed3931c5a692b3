// Accounts of people who log in by name and password, and teams, whose keys share limits and a budget.
import { Trouble, call } from "./api.js";
import { ask, button, h, say, table } from "./elements.js";
import * as forms from "./operate_form.js";
import { redraw } from "./operate_keys.js";

const USERS = "/api/admin/users";
const TEAMS = "/api/admin/teams";
const POLL_MS = 2000;
const A_NAME = "[^\\/]+";

const failed = (error) => say(error.message, "bad");

/** The tab: accounts above, teams below. */
export default function tab(screen) {
  const users = section("Accounts", "New account", USERS, "users", usersTable, newUser);
  const teams = section("Teams", "New team", TEAMS, "teams", teamsTable, () => editTeam(null));
  screen.every(POLL_MS, () => Promise.all([users.load(), teams.load()]));
  return h("div", { class: "column people" }, users.node, teams.node);
}

/** A list with its heading and a button for a new row. */
function section(title, label, path, name, draw, create) {
  const rows = h("div");
  const load = async () => redraw(rows, draw(await all(path, name), load));
  const add = button(label, () => create().then(load).catch(failed), { icon: "plus", kind: "primary" });
  return { node: h("section", { class: "column" }, h("div", { class: "row" }, h("h2", {}, title), add), rows), load };
}

async function all(path, name) {
  const found = [];
  let page = { next: null };
  do {
    page = await call("GET", path, { query: { after: page.next } });
    found.push(...page[name]);
  } while (page.next);
  return found;
}

const actions = (...buttons) => h("div", { class: "row end" }, buttons);
const small = (icon, title, work) => button("", work, { icon, kind: "quiet", title });

// --- accounts ---

function usersTable(users, load) {
  const remove = ({ name }) => () => dropUser(name).then(load).catch(failed);
  return table([
    { head: "Name", cell: (user) => user.name },
    { head: "Actions", class: "number",
      cell: (user) => actions(small("trash", `Delete the account ${user.name}`, remove(user))) },
  ], users, { empty: "There are no accounts yet.", caption: "Accounts" });
}

async function newUser() {
  const secret = { type: "password", autocomplete: "new-password", required: true, maxlength: "1024" };
  const name = forms.line("name", "Name", "", { required: true, pattern: A_NAME, title: "A name without a slash" });
  const first = untrimmed(forms.line("password", "Password", "", secret));
  const second = untrimmed(forms.line("again", "Password again", "", secret));
  const { node, send } = forms.form([["Account", [name, first, second]]]);
  const onsubmit = () => send(async () => {
    if (first.read() !== second.read()) throw new Trouble("The two passwords are not the same.", { field: "again" });
    await call("POST", USERS, { body: { name: name.read(), password: first.read() } });
  });
  return ask({ title: "New account", body: node, submit: "Create", onsubmit });
}

/** A password may begin and end with spaces. */
function untrimmed(line) {
  return { ...line, read: () => line.control.value };
}

function dropUser(name) {
  const words = `${name} can no longer log in. Conversations and usage stay. This cannot be undone.`;
  return ask({ title: `Delete the account ${name}?`, body: h("p", {}, words), submit: "Delete", danger: true,
    onsubmit: () => call("DELETE", `${USERS}/${encodeURIComponent(name)}`) });
}

// --- teams ---

function teamsTable(teams, load) {
  const does = (work) => () => work().then(load).catch(failed);
  return table([
    { head: "Name", cell: (team) => team.name },
    { head: "Limits", cell: (team) => forms.limitWords(team.limits) },
    { head: "Budget", cell: (team) => forms.budgetBar(team.budget) },
    { head: "Actions", class: "number", cell: (team) => actions(
      small("edit", `Change the team ${team.name}`, does(() => editTeam(team))),
      small("trash", `Delete the team ${team.name}`, does(() => dropTeam(team.name)))) },
  ], teams, { empty: "There are no teams yet.", caption: "Teams" });
}

/** Ask what a team is to have; without one, for a new team. */
function editTeam(team) {
  const naming = forms.line("name", "Name", "", { required: true, pattern: A_NAME, title: "A name without a slash" });
  const { node, read, send } = forms.form([
    ...(team ? [] : [["Team", [naming]]]), ["Limits of all its keys together", forms.limitFields(team?.limits)],
    ["Budget of all its keys together", forms.budgetFields(team?.budget)]]);
  const onsubmit = () => send(async () => {
    const { name = team?.name, ...body } = read();
    // A PUT replaces what is there: a new team must not take another's limits away.
    const taken = !team && (await all(TEAMS, "teams")).some((each) => each.name === name);
    if (taken) throw new Trouble("There is a team of this name already.", { field: "name" });
    await call("PUT", `${TEAMS}/${encodeURIComponent(name)}`, { body });
  });
  const title = team ? `Change ${team.name}` : "New team";
  return ask({ title, body: node, submit: team ? "Save" : "Create", onsubmit });
}

function dropTeam(name) {
  const words = "Its limits and its budget are gone. A team that has keys is not deleted: change those first.";
  return ask({ title: `Delete the team ${name}?`, body: h("p", {}, words), submit: "Delete", danger: true,
    onsubmit: () => call("DELETE", `${TEAMS}/${encodeURIComponent(name)}`) });
}
