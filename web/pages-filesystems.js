/* The filesystems: which there are, which key wraps which, adding, starting, stopping, checking,
 * removing. Mounting is for the host. */
import { call, get, may } from "/api.js";
import { ask, askByName } from "/dialog.js";
import { announce, badge, capacity, element, notice, panel, refusal, renew, replace, table } from "/dom.js";
import { button, checkbox, field, select } from "/forms.js";
import { watch } from "/watch.js";

const KINDS = { mounted: "good", started: "good", starting: "warn", "waiting-for-kms": "warn", removing: "warn", failed: "bad", stopped: "dim" };
const GIB = 1024 ** 3;

function key(row) {
  const version = row.kms_key_version ? `, version ${row.kms_key_version}` : "";
  const what = row.kms_type === "local" ? "a local key" : `${row.kms_key}${version}`;
  return [what, row.own_kms_key ? element("p", { class: "hint" }, "a key of its own") : null,
    row.kms_role ? element("p", { class: "hint" }, `a login of its own, ${row.kms_role}`) : null,
    row.kms_namespace ? element("p", { class: "hint" }, `namespace ${row.kms_namespace}`) : null];
}

function state(row) {
  return [badge(row.status, KINDS[row.status] || "dim"),
    row.read_only ? badge("read-only", "warn") : null,
    row.older_worker ? badge("older version", "warn") : null,
    row.status_text ? element("p", { class: "hint" }, row.status_text) : null,
    row.mounted_at ? element("p", { class: "hint" }, row.mounted_at) : null];
}

/* Of one that was downloaded: how much is still only in the object store. */
function origin(row) {
  if (!row.origin_store) return null;
  const left = row.origin_left === null ? "the rest" : capacity(row.origin_left);
  return element("p", { class: "hint" }, `${left} is still only in ${row.origin_store}: `,
    element("a", { href: "#/tasks" }, row.origin_task ? `task ${row.origin_task}` : "tasks"));
}

function used(row) {
  const limit = row.capacity ? `of ${capacity(row.capacity)}` : "no limit";
  return row.used ? `${capacity(row.used)}${row.capacity ? " " : ", "}${limit}` : limit;
}

const path = (row, action = "") => `/filesystems/${encodeURIComponent(row.name)}${action}`;

async function add(reload) {
  const buckets = (await get("/object-stores")).filter((store) => store.type === "s3");
  const done = await ask({
    title: "Add a filesystem",
    content: [element("p", {}, "It gets a key of its own, which the key server wraps.")],
    fields: [
      field({ label: "Name", name: "name", required: true, maxlength: 32, pattern: "[A-Za-z0-9._][A-Za-z0-9._\\-]*" }),
      field({ label: "Capacity in GiB", name: "gib", inputmode: "decimal", pattern: "[0-9]+([.][0-9]+)?", hint: "Without it, as much as the store has" }),
      buckets.length ? select("Its data lies", "store", [["", "on this host"], ...buckets.map(({ name }) => [`s3:${name}`, `in the bucket of ${name}`])], "") : null,
      field({ label: "Key in the key server", name: "kms_key", hint: "One of its own; without it the configured one wraps it" }),
      element("details", {}, element("summary", {}, "Where that key is, and a login of its own"),
        field({ label: "Namespace", name: "kms_namespace" }),
        field({ label: "Role ID", name: "kms_role_id" }),
        field({ label: "Secret ID", name: "kms_secret_id", type: "password", secret: true })),
      checkbox("Allow no key server", "allow_no_kms", "Without one, a key in a file of this host wraps it: for trials"),
    ].filter(Boolean),
    action: "Add",
    send: ({ gib, ...found }) => call("POST", "/filesystems", gib ? { ...found, capacity: Math.round(Number(gib) * GIB) } : found),
  });
  if (done) {
    announce("The filesystem was added");
    reload();
  }
}

async function remove(row, reload) {
  const done = await askByName({
    title: `Remove ${row.name}?`, name: row.name,
    content: [element("p", {}, "All its data and its wrapped keys are deleted. Nothing brings them back.")],
    fields: [checkbox("Destroy every copy of its wrapped keys first (shred)", "shred")],
    action: "Remove", send: (found) => call("DELETE", path(row), found),
  });
  if (done) reload();
}

function actions(row, who, work, reload) {
  const mayUse = may(who, "filesystem");
  const named = (label, name, what, kind) => {
    const made = button(label, what, `small ${kind || ""}`);
    made.setAttribute("aria-label", `${label} ${name}`);
    return made;
  };
  return element("div", { class: "actions" },
    mayUse && row.status === "stopped" ? named("Start", row.name, () => work(row, "start")) : null,
    mayUse && ["started", "failed", "waiting-for-kms"].includes(row.status) ? named("Stop", row.name, () => work(row, "stop")) : null,
    mayUse && ["stopped", "started", "mounted"].includes(row.status) ? named("Check", row.name, () => work(row, "check")) : null,
    may(who, "admin") && row.status === "stopped" ? named("Remove", row.name, () => remove(row, reload), "danger") : null);
}

function checkReport(row, answer) {
  if (!answer.faults) return notice("good", element("p", {}, `${row.name}: no faults.`));
  return notice("bad", element("p", {}, `${row.name}: ${answer.faults} faults`), element("ul", {}, (answer.report || []).map((text) => element("li", {}, text))));
}

export async function filesystemsPage(content, who) {
  const answer = element("div", {});
  const list = element("div", {});
  let isChanging = false;
  const reload = async () => {
    const rows = await get("/filesystems");
    isChanging = rows.some((row) => row.origin_store || ["starting", "waiting-for-kms", "removing"].includes(row.status));
    renew(list, table("Filesystems", [
      ["Name", (row) => [element("strong", {}, row.name), element("p", { class: "hint" },
        element("a", { href: `#/snapshots?filesystem=${encodeURIComponent(row.name)}`, class: "nowrap", "aria-label": `Snapshots of ${row.name}` }, "snapshots"))]],
      ["State", state],
      ["Key", key],
      ["Used", (row) => [used(row), origin(row)]],
      ["", (row) => actions(row, who, work, reload)],
    ], rows, `There is no filesystem yet.${may(who, "admin") ? " Add one; then it is mounted on the host." : ""}`));
  };
  const work = async (row, action) => {
    replace(answer, element("p", { class: "working", role: "status" }, `${row.name}: ${action}…`));
    try {
      const result = await call("POST", path(row, `/${action}`), {});
      replace(answer, action === "check" ? checkReport(row, result) : null);
      if (action !== "check") announce(`${row.name}: ${action}, done`);
    } catch (error) {
      replace(answer, refusal(error));
    }
    await reload();
  };
  await reload();
  replace(content, panel("Filesystems", list, answer,
    may(who, "admin") ? element("div", { class: "actions" }, button("Add filesystem", () => add(reload), "main")) : null,
    element("p", { class: "hint" }, "They are mounted on the host: coffer fs mount NAME FOLDER")));
  /* What cannot be asked for now is asked again soon. */
  watch(content, () => (isChanging ? reload().catch(() => {}) : null));
}
