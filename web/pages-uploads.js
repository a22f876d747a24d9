/* What one object store holds: the snapshots that were uploaded to it, by whatever host, and who uses
 * it; downloading, verifying, wrapping anew and removing. */
import { call, get, may, query } from "/api.js";
import { ask, askByName } from "/dialog.js";
import { announce, badge, capacity, card, copyable, element, notice, refusal, replace, table, time } from "/dom.js";
import { button, checkbox, choice, field, only, select } from "/forms.js";
import { began } from "/pages-tasks.js";

const PAGE = 50;
const USES = { upload: "an upload under way", snapshot: "an uploaded snapshot", download: "a downloaded filesystem", removal: "a removal" };

const path = (store, action) => `/object-stores/${encodeURIComponent(store)}${action}`;
const title = (row) => (row.snapshot ? `${row.snapshot} of ${row.filesystem}` : row.locator.slice(0, 20));
const isUp = (filesystem) => ["started", "mounted"].includes(filesystem.status);

/* ---------------------------------------------------------------- what is done with a snapshot */

/* Each resolves to what is then said, or to null if it was cancelled. */

function newFields(row) {
  return element("div", { class: "group" },
    field({ label: "Name of the filesystem", name: "name", required: true, maxlength: 32, pattern: "[A-Za-z0-9._][A-Za-z0-9._\\-]*",
      value: row.filesystem ? `${row.filesystem}-2`.slice(-32) : "" }),
    element("p", { class: "hint" }, "It is of use at once: what is not here yet is read from the object store, which is needed until all is here. The key server unwraps the snapshot's keys."),
    element("details", {}, element("summary", {}, "Further settings"),
      field({ label: "Key in the key server", name: "kms_key", hint: "One of its own; without it the configured one wraps it" }),
      checkbox("Write nothing to the object store", "read_only_store", "Whoever cleans it then does not know that this snapshot is needed"),
      checkbox("Allow no key server", "allow_no_kms", "Without one, a key in a file of this host wraps it: for trials")));
}

function intoFields(row, filesystems) {
  const own = (filesystem) => filesystem.uuid === row.origin;
  const names = [...filesystems.filter(own), ...filesystems.filter((one) => !own(one))].map((one) => one.name);
  if (names.length === 0)
    return element("div", { class: "group" }, element("p", { class: "empty" }, "No filesystem is started."));
  return element("div", { class: "group" },
    select("Filesystem", "filesystem", names, names[0]),
    field({ label: "Name of the snapshot", name: "snapshot", maxlength: 255, hint: "Without one, it has the name that it has there" }),
    element("p", { class: "hint" }, "The filesystem that uploaded it, or one that was downloaded from that. Only what is not here any more is moved."));
}

async function download(store, row, who) {
  const fresh = newFields(row);
  const into = intoFields(row, (await get("/filesystems")).filter(isUp));
  const kinds = [["new", "A new filesystem"], ["into", "A snapshot of a filesystem that is here"]].filter(([kind]) => kind === "into" || may(who, "admin"));
  const show = (kind) => {
    only(fresh, kind === "new");
    only(into, kind === "into");
  };
  show(kinds[0][0]);
  let said = null;
  await ask({
    title: `Download ${title(row)}`,
    fields: [choice("Make of it", "kind", kinds, kinds[0][0], show), fresh, into],
    action: "Download",
    send: async ({ kind, filesystem, snapshot, ...found }) => {
      const what = { ...found, locator: row.locator, object_store: store };
      if (kind === "new") said = arrived(await call("POST", "/filesystems", what), store);
      else if (filesystem) said = began(await call("POST", `/filesystems/${encodeURIComponent(filesystem)}/snapshots/download`, snapshot ? { ...what, name: snapshot } : what));
      else throw new Error("No filesystem is started; start the one that the snapshot is of.");
    },
  });
  return said;
}

function arrived(filesystem, store) {
  return notice("good", element("p", {}, `${filesystem.name} is here, and can be mounted: `, element("code", {}, `coffer fs mount ${filesystem.name} FOLDER`),
    `. What it does not have yet comes from ${store} while it is started; `, element("a", { href: "#/tasks" }, "Tasks"), " shows how far that is."));
}

async function verify(store, row) {
  let task = null;
  await ask({
    title: `Verify ${title(row)}`,
    content: [element("p", {}, "It is read and opened with its keys, as a download would, and nothing is made of it. What is altered or missing is named.")],
    fields: [field({ label: "Only a sample: one object in", name: "one_in", inputmode: "numeric", pattern: "[1-9][0-9]*", hint: "Without it, all of it is read" })],
    action: "Verify",
    send: async (found) => {
      task = await call("POST", path(store, "/snapshots/verify"), { locator: row.locator, background: true, ...(found.one_in ? { one_in: Number(found.one_in) } : {}) });
    },
  });
  return task ? began(task) : null;
}

function removed(answer) {
  return notice("good", element("p", {}, `${answer.objects} objects (${capacity(answer.bytes)}) are removed${answer.kept ? `; ${answer.kept} others are still needed` : ""}.`));
}

async function remove(store, row) {
  let answer = null;
  await askByName({
    title: `Remove ${title(row)} from ${store}?`, name: row.snapshot || row.locator.slice(-8),
    content: [element("p", {}, "Nothing brings it back from there. What other snapshots, uploads and downloaded filesystems need stays."),
      row.snapshot ? null : element("p", {}, "Its name is hidden: the last 8 characters of its locator confirm.")],
    action: "Remove",
    send: async () => { answer = await call("DELETE", path(store, "/snapshots"), { locator: row.locator }); },
  });
  return answer ? removed(answer) : null;
}

/* ---------------------------------------------------------------- what is done with the store */

async function clean(store) {
  let answer = null;
  await ask({
    title: `Clean ${store}?`, content: [element("p", {}, "What no uploaded snapshot, no upload and no downloaded filesystem needs is removed from it.")],
    action: "Clean", send: async () => { answer = await call("DELETE", path(store, "/snapshots"), {}); },
  });
  return answer ? removed(answer) : null;
}

async function rewrap(store) {
  let task = null;
  await ask({
    title: `Rewrap the keys of all snapshots in ${store}?`,
    content: [element("p", {}, "The newest version of the configured key, or of the key of a filesystem's own, wraps them from then on.")],
    fields: [checkbox("Drop what wrapped them before at once", "drop_previous", "Else it stays beside the new wrapping, until the next time")],
    action: "Rewrap", send: async (found) => { task = await call("POST", path(store, "/snapshots/rewrap"), { ...found, all: true, background: true }); },
  });
  return task ? began(task) : null;
}

async function expire(store, use) {
  const done = await askByName({
    title: "Forget that this is needed?", name: use.id.slice(0, 8), label: "how it begins",
    content: [element("p", {}, `Only if its owner (${use.kind} of instance ${use.instance}) is dead for certain, and not slow: what it needs is then removed by the next cleaning.`)],
    action: "Forget", send: () => call("DELETE", path(store, "/uses"), { id: use.id }),
  });
  return done ? notice("good", element("p", {}, "It is forgotten; what only it kept goes with the next cleaning.")) : null;
}

/* ---------------------------------------------------------------- how it is shown */

function needed(row) {
  if (!row.kms_key) return "";
  const what = row.kms_type === "local" ? "a local key" : `${row.kms_key}${row.kms_key_version ? `, version ${row.kms_key_version}` : ""}`;
  const others = row.keys && row.keys.length > 1 ? `, and ${row.keys.length - 1} more` : "";
  return [`${what}${others}`, row.kms_addresses ? element("p", { class: "hint" }, row.kms_addresses) : null];
}

function named(label, name, work, kind = "") {
  const made = button(label, work, `small ${kind}`);
  made.setAttribute("aria-label", `${label} ${name}`);
  return made;
}

function snapshotRows(store, rows, who, act) {
  const isWhole = (row) => row.status === "complete";
  return table(`Snapshots in ${store}`, [
    ["Snapshot", (row) => [element("strong", {}, row.snapshot || "name hidden"), isWhole(row) ? null : [" ", badge(row.status, "bad")],
      row.filesystem ? element("p", { class: "hint" }, `of ${row.filesystem}`) : null,
      row.text ? element("p", { class: "hint" }, row.text) : null, copyable("Locator", row.locator)]],
    ["Taken", (row) => [time(row.created), row.uploaded ? element("p", { class: "hint" }, "uploaded ", time(row.uploaded)) : null]],
    ["Size", (row) => (row.size === undefined ? "" : element("span", { class: "nowrap" }, capacity(row.size)))],
    ["Key", needed],
    ["", (row) => element("div", { class: "actions" },
      may(who, "filesystem") && isWhole(row) ? [
        named("Download", title(row), () => act(() => download(store, row, who))),
        named("Verify", title(row), () => act(() => verify(store, row)))] : null,
      may(who, "admin") ? named("Remove", title(row), () => act(() => remove(store, row)), "danger") : null)],
  ], rows, "It holds no snapshot yet; one is uploaded under Snapshots.");
}

function useRows(store, uses, who, act) {
  return table(`Who uses ${store}`, [
    ["What", (use) => [USES[use.kind] || use.kind, use.locator ? copyable("Locator", use.locator) : null]],
    ["Instance", (use) => (use.this_instance ? "this one" : element("code", {}, use.instance))],
    ["Since", (use) => time(use.since)],
    ["Objects", (use) => String(use.objects)],
    ["", (use) => (may(who, "admin") && ["upload", "download"].includes(use.kind)
      ? element("div", { class: "actions" }, named("Forget", `${use.kind} ${use.id.slice(0, 8)}`, () => act(() => expire(store, use)), "danger")) : null)],
  ], uses, "Nobody uses it.");
}

export async function uploadsPage(content, who, store) {
  const answer = element("div", {});
  const list = element("div", {});
  const uses = element("div", {});
  let rows = [];
  const page = (after) => get(`${path(store, "/snapshots")}${query({ limit: String(PAGE), after })}`);
  const show = (found, used) => {
    rows.push(...found);
    const more = async () => {
      try {
        show(await page(rows.at(-1).locator), used);
      } catch (error) {
        replace(answer, refusal(error));
      }
    };
    replace(list, snapshotRows(store, rows, who, act), found.length === PAGE ? element("div", { class: "actions" }, button("More", more)) : null);
    replace(uses, useRows(store, used, who, act));
  };
  const reload = async () => {
    const [found, used] = await Promise.all([page(""), get(path(store, "/uses"))]);
    rows = [];
    show(found, used);
  };
  const act = async (work) => {
    replace(answer);
    try {
      const said = await work();
      if (!said) return;
      replace(answer, said);
      announce(said.textContent);
      await reload();
    } catch (error) {
      replace(answer, refusal(error));
    }
  };
  await reload();
  replace(content,
    card(`Snapshots in ${store}`, element("p", {}, element("a", { href: "#/stores" }, "All object stores")), answer, list,
      element("div", { class: "actions" },
        may(who, "keys") && rows.length ? button("Rewrap keys", () => act(() => rewrap(store))) : null,
        may(who, "admin") ? button("Clean", () => act(() => clean(store))) : null),
      element("p", { class: "hint" }, "It is what stands in the store in clear: whoever can write there can make it say anything. A download proves it.")),
    card("Who uses it", uses));
}
