// Accounts of people who log in by name and password, and teams, whose keys share limits and a budget.
import { Trouble, call } from "./api.js";
import { h } from "./elements.js";
import { LIMIT_COLUMNS, askDelete, askFor, limitGroups, line, listing, nameLine } from "./operate_form.js";
import { readAll } from "./operate_view.js";

const USERS = "/api/admin/users";
const TEAMS = "/api/admin/teams";
const NAME = { head: "Name", cell: (row) => row.name };

/** The tab: accounts above, teams below. */
export default function users() {
  const accounts = listing({ title: "Accounts", label: "New account", path: USERS, name: "users", columns: [NAME],
    actions: ({ name }) => [["trash", `Delete the account ${name}`, () => dropAccount(name)]], create: newAccount });
  const teams = listing({ title: "Teams", label: "New team", path: TEAMS, name: "teams",
    columns: [NAME, ...LIMIT_COLUMNS], actions: teamActions, create: newTeam });
  const load = () => Promise.all([accounts.load(), teams.load()]);
  return { node: h("div", { class: "column people" }, accounts.node, teams.node), load, everyMs: 2000 };
}

function newAccount() {
  const secret = { type: "password", autocomplete: "new-password", required: true, maxlength: "1024" };
  const fields = [nameLine(), line("password", "Password", "", secret)];
  return askFor("New account", "Create", [["Account", fields]], (body) => call("POST", USERS, { body }));
}

const dropAccount = (name) => askDelete(`the account ${name}`, `${name} can no longer log in. Conversations and usage `
  + "stay. This cannot be undone.", `${USERS}/${encodeURIComponent(name)}`);

const pathOf = (name) => `${TEAMS}/${encodeURIComponent(name)}`;
const teamOf = async (wanted) => (await readAll(TEAMS, "teams")).find(({ name }) => name === wanted);

const teamActions = ({ name }) => [
  ["edit", `Change the team ${name}`, () => editTeam(name)],
  ["trash", `Delete the team ${name}`, () => askDelete(`the team ${name}`, "Its limits and its budget are gone. A team "
    + "that has keys is not deleted: change those first.", pathOf(name))],
];

const newTeam = () => askFor("New team", "Create", [["Team", [nameLine()]], ...limitGroups({})],
  async ({ name, ...body }) => {
    // A PUT replaces what is there: a new team must not take another's limits away.
    if (await teamOf(name)) throw new Trouble("There is a team of this name already.", { field: "name" });
    await call("PUT", pathOf(name), { body });
  });

const editTeam = async (name) => askFor(`Change ${name}`, "Save", limitGroups(await teamOf(name) ?? {}),
  (body) => call("PUT", pathOf(name), { body }));
