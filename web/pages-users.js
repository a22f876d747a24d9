/* Who may log in, and the own password. */
import { call, get } from "/api.js";
import { ask, good } from "/dialog.js";
import { announce, card, element, panel, replace, table, time } from "/dom.js";
import { button, field, form, select, small, submit } from "/forms.js";

const ROLES = ["ReadOnly", "Regular", "KeyAdmin", "ClusterAdmin"];
const WHAT = {
  ReadOnly: "sees everything",
  Regular: "sees everything; starts, stops and checks filesystems",
  KeyAdmin: "sees everything; changes the key server and which keys wrap",
  ClusterAdmin: "may do everything",
};

const newPassword = (label = "Password") => field({ label, name: "password", type: "password", required: true, secret: true,
  minlength: 10, maxlength: 256, autocomplete: "new-password", hint: "10 to 256 characters" });

function add(reload) {
  return ask({
    title: "Add a user",
    fields: [
      field({ label: "Name", name: "name", required: true, maxlength: 32, pattern: "[A-Za-z0-9][A-Za-z0-9._@\\-]*" }),
      select("Role", "role", ROLES, "ReadOnly"), newPassword(),
    ],
    action: "Add", send: (found) => call("POST", "/users", found),
  }).then((done) => done && reload());
}

function change(user, reload) {
  return ask({
    title: `Change ${user.name}`, fields: [select("Role", "role", ROLES, user.role)],
    action: "Change", send: (found) => call("PATCH", `/users/${encodeURIComponent(user.name)}`, found),
  }).then((done) => done && reload());
}

function setPassword(user, reload) {
  return ask({
    title: `New password for ${user.name}`, content: [element("p", {}, "All sessions of this user end.")],
    fields: [newPassword()], action: "Set",
    send: (found) => call("PUT", `/users/${encodeURIComponent(user.name)}/password`, found),
  }).then((done) => done && reload());
}

function remove(user, reload) {
  return ask({
    title: `Remove ${user.name}?`, content: [element("p", {}, "All sessions of this user end at once.")],
    action: "Remove", kind: "danger",
    send: () => call("DELETE", `/users/${encodeURIComponent(user.name)}`),
  }).then((done) => done && reload());
}

export async function usersPage(content, who) {
  const reload = async () => {
    const rows = await get("/users");
    replace(content, panel("Users", table("Users", [
      ["Name", (user) => [element("strong", {}, user.name), user.name === who.user ? " (you)" : ""]],
      ["Role", (user) => user.role],
      ["Password set", (user) => time(user.password_set)],
      ["", (user) => element("div", { class: "actions" },
        small("Role", user.name, () => change(user, reload)), small("Password", user.name, () => setPassword(user, reload)),
        user.name === who.user ? null : small("Remove", user.name, () => remove(user, reload), "danger"))],
    ], rows, "Nobody can log in."),
    element("div", { class: "actions" }, button("Add user", () => add(reload), "main"))),
    card("Roles", element("dl", { class: "facts" }, ROLES.map((role) => element("div", {}, element("dt", {}, role), element("dd", {}, WHAT[role]))))));
  };
  await reload();
}

export function accountPage(content, who) {
  const done = element("div", {});
  replace(content, panel("Your account",
    element("p", {}, `You are ${who.user}, with the role ${who.role}.`), done,
    form("Change your password", [
      field({ label: "Present password", name: "old_password", type: "password", required: true, secret: true, autocomplete: "current-password" }),
      newPassword("New password"),
      field({ label: "New password once more", name: "again", type: "password", required: true, secret: true, autocomplete: "new-password" }),
    ], [submit("Change password")], async ({ again, ...found }) => {
      replace(done);
      if (again !== found.password) throw new Error("The new passwords differ; nothing was changed.");
      await call("PUT", "/session/password", found);
      replace(done, good("Your password was changed; your other sessions have ended."));
      announce("Your password was changed");
    })));
}
