/* What one object store holds: the snapshots that were uploaded to it, by whatever host, and who uses
 * it; downloading, verifying, wrapping anew and removing. */
import { call, get, may, query } from "/api.js";
import { answering, ask, askByName, filesystemName, good, noKms, ownKey, report } from "/dialog.js";
import { badge, capacity, card, copyable, element, refusal, replace, table, time } from "/dom.js";
import { button, checkbox, choice, field, only, select, small } from "/forms.js";
import { kmsFields, kmsOf, rewrapTable, unneededText } from "/kms-form.js";
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
    filesystemName("Name of the filesystem", row.filesystem ? `${row.filesystem}-2`.slice(-32) : ""),
    element("p", { class: "hint" }, "It is of use at once: what is not here yet is read from the object store, which is needed until all is here. The key server unwraps the snapshot's keys."),
    element("details", {}, element("summary", {}, "Further settings"),
      ownKey(),
      checkbox("Write nothing to the object store", "read_only_store", "Whoever cleans it then does not know that this snapshot is needed"),
      noKms()));
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
  return good(`${filesystem.name} is here, and can be mounted: `, element("code", {}, `coffer fs mount ${filesystem.name} FOLDER`),
    `. What it does not have yet comes from ${store} while it is started; `, element("a", { href: "#/tasks" }, "Tasks"), " shows how far that is.");
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
  return good(`${answer.objects} objects (${capacity(answer.bytes)}) are removed${answer.kept ? `; ${answer.kept} others are still needed` : ""}.`);
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

/* Of one snapshot, or of all with no row; listed: what is known of them. By the key server of this instance
 * it is a task; what another one wraps, whose credentials are not kept, and what is only planned is waited
 * for. */
async function rewrap(store, listed, row) {
  const kms = kmsFields({});
  const other = element("div", { class: "group" }, element("p", { class: "hint" },
    "Both must answer: the present one unwraps, the other one wraps. Its credentials are not kept, and this one stays the configured one."), kms.fields);
  const show = (whom) => {
    only(other, whom === "other");
    if (whom === "other") kms.refresh();
  };
  show("own");
  let said = null;
  await ask({
    title: row ? `Rewrap the keys of ${title(row)}?` : `Rewrap the keys of all snapshots in ${store}?`,
    content: [element("p", {}, "What is uploaded keeps its wrapping until it is wrapped anew: by the newest version of the configured key, or of the filesystem's own, or by a key of another key server. The data is not touched.")],
    fields: [
      choice("What wraps them from then on", "whom", [["own", "This key server"], ["other", "Another one"]], "own", show),
      other,
      checkbox("Drop what wrapped them before at once", "drop_previous", "Else it stays beside the new wrapping, until the next time"),
      checkbox("Only tell what would be done", "dry_run"),
    ],
    action: "Rewrap",
    send: async ({ whom, drop_previous: drops, dry_run: isDry, ...found }) => {
      const order = { ...(row ? { locator: row.locator } : { all: true }), ...(drops ? { drop_previous: true } : {}) };
      if (whom === "other") said = rewrapReport(store, listed, await call("POST", path(store, "/snapshots/rewrap"), { ...order, dry_run: Boolean(isDry), kms: kmsOf(found) }));
      else if (isDry) said = rewrapReport(store, listed, await call("POST", path(store, "/snapshots/rewrap"), { ...order, dry_run: true }));
      else said = began(await call("POST", path(store, "/snapshots/rewrap"), { ...order, background: true }));
    },
  });
  return said;
}

function rewrapReport(store, listed, answer) {
  /* Of one that failed early the answer has no names. */
  const named = (row) => (row.snapshot ? row : listed.find((one) => one.locator === row.locator) || row);
  const what = (row) => [row.snapshot || row.locator.slice(0, 20), row.filesystem ? element("p", { class: "hint" }, `of ${row.filesystem}`) : null];
  return report(answer.failed ? `Not all of it could be rewrapped: ${answer.failed} ${answer.failed === 1 ? "stays as it was" : "stay as they were"}` : "Rewrapped",
    rewrapTable(`Keys in ${store}`, ["Snapshot", (row) => what(named(row))],
      answer.snapshots, "It holds no snapshot."), unneededText(answer.unneeded));
}

async function expire(store, use) {
  const done = await askByName({
    title: "Forget that this is needed?", name: use.id.slice(0, 8), label: "how it begins",
    content: [element("p", {}, `Only if its owner (${use.kind} of instance ${use.instance}) is dead for certain, and not slow: what it needs is then removed by the next cleaning.`)],
    action: "Forget", send: () => call("DELETE", path(store, "/uses"), { id: use.id }),
  });
  return done ? good("It is forgotten; what only it kept goes with the next cleaning.") : null;
}

/* ---------------------------------------------------------------- how it is shown */

function needed(row) {
  if (!row.kms_key) return "";
  const what = row.kms_type === "local" ? "a local key" : `${row.kms_key}${row.kms_key_version ? `, version ${row.kms_key_version}` : ""}`;
  const others = row.keys && row.keys.length > 1 ? `, and ${row.keys.length - 1} more` : "";
  return [`${what}${others}`, row.kms_addresses ? element("p", { class: "hint" }, row.kms_addresses) : null];
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
        small("Download", title(row), () => act(() => download(store, row, who))),
        small("Verify", title(row), () => act(() => verify(store, row)))] : null,
      may(who, "keys") && isWhole(row) ? small("Rewrap", title(row), () => act(() => rewrap(store, [row], row))) : null,
      may(who, "admin") ? small("Remove", title(row), () => act(() => remove(store, row)), "danger") : null)],
  ], rows, "It holds no snapshot yet; one is uploaded under Snapshots.");
}

function useRows(store, uses, who, act) {
  return table(`Who uses ${store}`, [
    ["What", (use) => [USES[use.kind] || use.kind, use.locator ? copyable("Locator", use.locator) : null]],
    ["Instance", (use) => (use.this_instance ? "this one" : element("code", {}, use.instance))],
    ["Since", (use) => time(use.since)],
    ["Objects", (use) => String(use.objects)],
    ["", (use) => (may(who, "admin") && ["upload", "download"].includes(use.kind)
      ? element("div", { class: "actions" }, small("Forget", `${use.kind} ${use.id.slice(0, 8)}`, () => act(() => expire(store, use)), "danger")) : null)],
  ], uses, "Nobody uses it.");
}

export async function uploadsPage(content, who, store) {
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
  const { answer, act } = answering(reload);
  await reload();
  replace(content,
    card(`Snapshots in ${store}`, element("p", {}, element("a", { href: "#/stores" }, "All object stores")), answer, list,
      element("div", { class: "actions" },
        may(who, "keys") && rows.length ? button("Rewrap keys", () => act(() => rewrap(store, rows))) : null,
        may(who, "admin") ? button("Clean", () => act(() => clean(store))) : null),
      element("p", { class: "hint" }, "It is what stands in the store in clear: whoever can write there can make it say anything. A download proves it.")),
    card("Who uses it", uses));
}
