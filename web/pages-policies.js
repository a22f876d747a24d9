/* Snapshot policies: when snapshots are taken, how many are kept and where they go, and of which
 * filesystems. */
import { call, get, may } from "/api.js";
import { answering, ask, good, storeNames, warn } from "/dialog.js";
import { element, panel, replace, table, time } from "/dom.js";
import { button, field, select, small } from "/forms.js";

/* [name, title, label of when, example, how many are kept without a number] */
const PERIODS = [
  ["hourly", "Hourly", "At minute", "0", "24"],
  ["daily", "Daily", "At", "23:00", "7"],
  ["weekly", "Weekly", "Days and time", "sunday 23:00", "4"],
  ["monthly", "Monthly", "Day and time", "1 23:00", "12"],
];
const SITES = [["site:local", "the one beside this host"], ["site:remote", "the one far from it"]];

const path = (policy, action = "") => `/snapshot-policies/${encodeURIComponent(policy.name)}${action}`;

/* ---------------------------------------------------------------- the form */

function schedules(policy, stores) {
  return [element("p", { class: "hint" }, "Times are UTC; several days of a week are separated by commas. What is left empty is off. The oldest goes when there are more than are kept; one that is to be uploaded is not removed before."),
    PERIODS.map(([name, title, label, example, kept]) => {
      const upload = policy[`${name}_upload`] || "";
      return element("fieldset", { class: "schedule" }, element("legend", {}, title), element("div", { class: "row" },
        field({ label, name, value: policy[name], placeholder: example, isFilter: true }),
        field({ label: "Keep", name: `${name}_retention`, value: policy[`${name}_retention`] || "", placeholder: kept, inputmode: "numeric", pattern: "[0-9]+", isFilter: true }),
        select("Upload to", `${name}_upload`, places(stores, upload), upload)));
    })];
}

/* Also one that is not there any more, which must not be changed by being left out. */
function places(stores, upload) {
  const all = new Map([["", "nowhere"], ...stores.map((name) => [name, name]), ...SITES]);
  if (!all.has(upload)) all.set(upload, upload);
  return [...all];
}

/* What the form says; of an existing policy only what differs. */
function settings(found, policy = {}) {
  const given = {};
  for (const [name] of PERIODS) {
    const when = found[name] || "off";
    if (when !== (policy[name] || "off")) given[name] = when;
    const upload = found[`${name}_upload`] || "";
    if (upload !== (policy[`${name}_upload`] || "")) given[`${name}_upload`] = upload;
    const kept = found[`${name}_retention`];
    if (when !== "off" && kept && Number(kept) !== policy[`${name}_retention`]) given[`${name}_retention`] = Number(kept);
  }
  return given;
}

async function add() {
  const stores = await storeNames();
  let name = "";
  await ask({
    title: "Add a snapshot policy",
    fields: [field({ label: "Name", name: "name", required: true, maxlength: 32, hint: "Snapshots are called NAME-daily.2611272300 and so on" }), ...schedules({}, stores)],
    action: "Add",
    send: async (found) => { ({ name } = await call("POST", "/snapshot-policies", { ...settings(found), name: found.name })); },
  });
  return name ? good(`${name} was added. It takes snapshots of the filesystems that it is attached to.`) : null;
}

async function update(policy) {
  const stores = await storeNames();
  const done = await ask({
    title: `Update ${policy.name}`,
    content: [element("p", {}, "A schedule that is moved counts from now on. If fewer are to be kept, the oldest are removed at once.")],
    fields: schedules(policy, stores), action: "Update",
    send: (found) => call("PATCH", path(policy), settings(found, policy)),
  });
  return done ? good(`${policy.name} was changed.`) : null;
}

async function attach(policy) {
  const has = new Set(policy.filesystems.map((one) => one.name));
  const names = (await get("/filesystems")).map((one) => one.name).filter((name) => !has.has(name));
  if (names.length === 0) return warn(has.size ? `${policy.name} is attached to all filesystems.` : "There is no filesystem yet.");
  const done = await ask({
    title: `Attach ${policy.name}`, content: [element("p", {}, "From then on it takes snapshots, while the filesystem is started.")],
    fields: [select("Filesystem", "filesystem", names, names[0])], action: "Attach",
    send: (found) => call("POST", path(policy, "/attach"), found),
  });
  return done ? good(`${policy.name} is attached.`) : null;
}

async function detach(policy, filesystem) {
  const done = await ask({
    title: `Detach ${policy.name} from ${filesystem}?`, content: [element("p", {}, "It takes no more snapshots of it; those that it took stay.")],
    action: "Detach", send: () => call("POST", path(policy, "/detach"), { filesystem }),
  });
  return done ? good(`${policy.name} takes no more snapshots of ${filesystem}.`) : null;
}

async function runOnce(policy) {
  const done = await ask({
    title: `Take the snapshots of ${policy.name} now?`,
    content: [element("p", {}, "One for each schedule that is on, of each of its filesystems that is started. They count as if their time had come: if there are then too many, the oldest go.")],
    action: "Take now", send: () => call("POST", path(policy, "/run-once"), {}),
  });
  return done ? good("They are being taken.") : null;
}

async function remove(policy) {
  const done = await ask({
    title: `Remove the policy ${policy.name}?`, content: [element("p", {}, "The snapshots that it took stay.")],
    action: "Remove", kind: "danger", send: () => call("DELETE", path(policy)),
  });
  return done ? good(`${policy.name} is removed; its snapshots stay.`) : null;
}

/* ---------------------------------------------------------------- the list */

function when(policy) {
  const lines = PERIODS.filter(([name]) => policy[name]).map(([name, title]) => {
    const upload = policy[`${name}_upload`];
    return element("li", {}, `${title}, ${name === "hourly" ? "minute " : ""}${policy[name]}: keeps ${policy[`${name}_retention`]}${upload ? `, uploads to ${upload.replace("site:", "the site ")}` : ""}`);
  });
  return lines.length ? element("ul", { class: "plain close" }, lines) : "nothing is on";
}

function attached(policy, who, act) {
  if (policy.filesystems.length === 0) return element("span", { class: "hint" }, "none: it does nothing yet");
  return element("ul", { class: "plain close" }, policy.filesystems.map((one) => element("li", {},
    element("a", { href: `#/snapshots?filesystem=${encodeURIComponent(one.name)}` }, one.name), " ",
    may(who, "admin") ? small("Detach", `${policy.name} from ${one.name}`, () => act(() => detach(policy, one.name)), "quiet") : null,
    one.next ? element("p", { class: "hint" }, "next ", time(one.next)) : null,
    one.error ? element("p", { class: "todo" }, one.error) : null)));
}

function rows(policies, who, act) {
  const does = (label, policy, work, kind) => small(label, policy.name, () => act(() => work(policy)), kind);
  return table("Snapshot policies", [
    ["Name", (policy) => element("strong", {}, policy.name)],
    ["When (UTC)", when],
    ["Filesystems", (policy) => attached(policy, who, act)],
    ["", (policy) => element("div", { class: "actions" },
      may(who, "admin") ? [does("Attach", policy, attach), does("Update", policy, update)] : null,
      may(who, "filesystem") && policy.filesystems.length ? does("Take now", policy, runOnce) : null,
      may(who, "admin") && !policy.filesystems.length ? does("Remove", policy, remove, "danger") : null)],
  ], policies, "There is no snapshot policy. One takes snapshots by the clock, keeps as many as it is told, and can upload them.");
}

export async function policiesPage(content, who) {
  const list = element("div", {});
  const reload = async () => replace(list, rows(await get("/snapshot-policies"), who, act));
  const { answer, act } = answering(reload);
  await reload();
  replace(content, panel("Policies", answer, list,
    may(who, "admin") ? element("div", { class: "actions" }, button("Add policy", () => act(add), "main")) : null));
}
