/* The filesystems: which there are, which key wraps which, adding, starting, stopping, checking, the
 * cache of those in buckets, lost keys, removing. Mounting is for the host. */
import { call, get, may } from "/api.js";
import { allStores, answering, ask, askByName, filesystemName, good, noKms, ownKey, storeChoice, storeNames, warn } from "/dialog.js";
import { announce, badge, capacity, element, notice, panel, refusal, renew, replace, table } from "/dom.js";
import { button, checkbox, field, only, select, small } from "/forms.js";
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

const isInBucket = (row) => row.store.startsWith("s3:");

/* Of one in a bucket: what is kept of it on this host, as ciphertext. */
function cache(row) {
  if (!isInBucket(row)) return null;
  if (!row.cache) return element("p", { class: "hint" }, "no cache");
  const reads = row.cache_hits + row.cache_misses;
  return element("p", { class: "hint" }, `cache: ${capacity(row.cache_used)} of ${capacity(row.cache)}${reads ? `, which served ${Math.round(row.cache_hits / reads * 100)} % of ${reads} reads` : ""}`,
    row.cache_folder ? [", in ", element("code", {}, row.cache_folder)] : null);
}

/* ---------------------------------------------------------------- what is done */

/* Each resolves to what is then said, or to null if it was cancelled. */

const gibField = (label, name, hint, more = {}) => field({ label, name, hint, inputmode: "decimal", pattern: "[0-9]+([.][0-9]+)?", ...more });
const bytes = (gib) => Math.round(Number(gib) * GIB);

/* Where its data lies; what only a bucket has is asked for with one. */
function placeFields(buckets) {
  if (buckets.length === 0) return [];
  const cached = element("div", { class: "group" },
    gibField("Cache in GiB", "cache", "Of what was read, on this host, as the ciphertext that it is; 0 is none, without it 1"),
    field({ label: "Folder of the cache", name: "cache_folder", hint: "An absolute path; without one, it is beside the state of coffer" }));
  const chooser = select("Its data lies", "store", [["", "on this host"], ...buckets.map(({ name }) => [`s3:${name}`, `in the bucket of ${name}`])], "");
  chooser.addEventListener("change", (event) => only(cached, event.target.value !== ""));
  only(cached, false);
  return [chooser, cached];
}

async function add() {
  const buckets = (await get("/object-stores")).filter((store) => store.type === "s3");
  let row = null;
  await ask({
    title: "Add a filesystem",
    content: [element("p", {}, "It gets a key of its own, which the key server wraps.")],
    fields: [
      filesystemName("Name"), gibField("Capacity in GiB", "capacity", "Without it, as much as the store has"),
      ...placeFields(buckets), ownKey(),
      element("details", {}, element("summary", {}, "Where that key is, and a login of its own"),
        field({ label: "Namespace", name: "kms_namespace" }),
        field({ label: "Role ID", name: "kms_role_id" }),
        field({ label: "Secret ID", name: "kms_secret_id", type: "password", secret: true })),
      noKms(),
    ],
    action: "Add",
    send: async (found) => {
      for (const name of ["capacity", "cache"]) if (found[name] !== undefined) found[name] = bytes(found[name]);
      row = await call("POST", "/filesystems", found);
    },
  });
  return row ? good(`${row.name} was added. It is mounted on its host: `, element("code", {}, `coffer fs mount ${row.name} FOLDER`)) : null;
}

async function setCache(row) {
  let now = null;
  await ask({
    title: `Cache of ${row.name}`,
    content: [element("p", {}, "What was read of the bucket is kept on this host, as the ciphertext that it is, and what was used longest ago makes room. A new size takes effect at once.")],
    fields: [gibField("Size in GiB", "gib", "0 is none", { required: true, value: String(row.cache / GIB) })],
    action: "Set",
    send: async ({ gib }) => { now = await call("PUT", path(row, "/cache"), { cache: bytes(gib) }); },
  });
  if (!now) return null;
  return good(now.cache ? `${row.name} has a cache of ${capacity(now.cache)}.` : `${row.name} has no cache.`);
}

async function repairKey(row) {
  const names = await storeNames();
  if (names.length === 0) return warn("There is no object store that could hold an uploaded snapshot of it; add the one that does first: ", allStores(), ".");
  let locator = null;
  await ask({
    title: `Get the keys of ${row.name} back?`,
    content: [element("p", {}, "Its key ring, the wrapped keys, lies in two places, and each repairs the other. If it is lost in both, an uploaded snapshot of the filesystem has it, too. While the keys open it is refused.")],
    fields: [storeChoice(names), field({ label: "Locator of the snapshot", name: "locator", hint: "Without it, the newest whose keys are of this filesystem" })],
    action: "Repair",
    send: async (found) => { ({ locator } = await call("POST", path(row, "/key/repair"), found)); },
  });
  return locator ? good(`The key ring of ${row.name} was got back from the uploaded snapshot `, element("code", {}, locator), ". It can be started now.") : null;
}

async function remove(row) {
  const done = await askByName({
    title: `Remove ${row.name}?`, name: row.name,
    content: [element("p", {}, "All its data and its wrapped keys are deleted. Nothing brings them back.")],
    fields: [checkbox("Destroy every copy of its wrapped keys first (shred)", "shred")],
    action: "Remove", send: (found) => call("DELETE", path(row), found),
  });
  return done ? good(`${row.name} is removed.`) : null;
}

function actions(row, who, work, act) {
  const mayUse = may(who, "filesystem");
  const is = (...states) => states.includes(row.status);
  const asked = (label, what, kind) => small(label, row.name, () => act(() => what(row)), kind);
  return element("div", { class: "actions" },
    mayUse && is("stopped") ? small("Start", row.name, () => work(row, "start")) : null,
    mayUse && is("started", "failed", "waiting-for-kms") ? small("Stop", row.name, () => work(row, "stop")) : null,
    mayUse && is("stopped", "started", "mounted") ? small("Check", row.name, () => work(row, "check")) : null,
    may(who, "admin") && isInBucket(row) && !is("removing") ? asked("Cache", setCache) : null,
    may(who, "keys") && is("stopped", "failed") ? asked("Repair keys", repairKey) : null,
    may(who, "admin") && is("stopped") ? asked("Remove", remove, "danger") : null);
}

function checkReport(row, answer) {
  if (!answer.faults) return notice("good", element("p", {}, `${row.name}: no faults.`));
  return notice("bad", element("p", {}, `${row.name}: ${answer.faults} faults`), element("ul", {}, (answer.report || []).map((text) => element("li", {}, text))));
}

export async function filesystemsPage(content, who) {
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
      ["Used", (row) => [used(row), cache(row), origin(row)]],
      ["", (row) => actions(row, who, work, act)],
    ], rows, `There is no filesystem yet.${may(who, "admin") ? " Add one; then it is mounted on the host." : ""}`));
  };
  const { answer, act } = answering(reload);
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
    may(who, "admin") ? element("div", { class: "actions" }, button("Add filesystem", () => act(add), "main")) : null,
    element("p", { class: "hint" }, "They are mounted on the host: coffer fs mount NAME FOLDER")));
  /* What cannot be asked for now is asked again soon. */
  watch(content, () => (isChanging ? reload().catch(() => {}) : null));
}
