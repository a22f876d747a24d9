/* The snapshots of one filesystem: which there are and where they were uploaded; taking, renaming,
 * uploading and removing them, and going back to one. */
import { call, get, may } from "/api.js";
import { allStores, answering, ask, askByName, good, report, storeChoice, storeNames, warn } from "/dialog.js";
import { badge, copyable, element, panel, refusal, renew, replace, table, time } from "/dom.js";
import { button, checkbox, field, select, small } from "/forms.js";
import { storeLink } from "/pages-stores.js";
import { began } from "/pages-tasks.js";
import { watch } from "/watch.js";

const path = (filesystem, action = "") => `/filesystems/${encodeURIComponent(filesystem)}${action}`;
const isUp = (filesystem) => ["started", "mounted"].includes(filesystem.status);

/* ---------------------------------------------------------------- what is done */

/* Each resolves to what is then said, or to null if it was cancelled. */

async function take(filesystem) {
  const done = await ask({
    title: `Take a snapshot of ${filesystem.name}`,
    content: [element("p", {}, "It holds every write that had returned, and takes no room at first.")],
    fields: [
      field({ label: "Name", name: "name", required: true, maxlength: 255 }),
      field({ label: "Access point", name: "access_point", maxlength: 255, hint: "Its folder in .snapshots; without it, one is named by the time" }),
    ],
    action: "Take snapshot", send: (found) => call("POST", path(filesystem.name, "/snapshots"), found),
  });
  return done ? good("The snapshot was taken.") : null;
}

async function upload(filesystem, snapshot) {
  const names = await storeNames();
  if (names.length === 0) return warn("There is no object store to upload it to; add one first: ", allStores(), ".");
  let task = null;
  await ask({
    title: `Upload the snapshot ${snapshot.name}`,
    content: [element("p", {}, "It goes up sealed, with its wrapped keys: who has the object store and the key server has the files. What is there already is not sent again.")],
    fields: [
      storeChoice(names),
      checkbox("Hide names", "hide_names", "Who has the object store then does not see what filesystem and snapshot are called"),
      filesystem.kms_type === "local"
        ? checkbox("Allow no key server", "allow_no_kms", "The key is wrapped by a file of this host; if that is lost, nobody opens the upload") : null,
    ].filter(Boolean),
    action: "Upload",
    send: async (found) => { task = await call("POST", path(filesystem.name, "/snapshots/upload"), { ...found, name: snapshot.name }); },
  });
  return task ? began(task) : null;
}

async function rename(filesystem, snapshot) {
  const done = await ask({
    title: `Rename the snapshot ${snapshot.name}`,
    content: [element("p", {}, "One that a policy took is left alone by it from then on.")],
    fields: [
      field({ label: "Name", name: "new_name", required: true, maxlength: 255, value: snapshot.name }),
      field({ label: "Access point", name: "access_point", required: true, maxlength: 255, value: snapshot.access_point, hint: "Its folder in .snapshots" }),
    ],
    action: "Rename",
    send: (found) => {
      const changed = { name: snapshot.name };
      if (found.new_name !== snapshot.name) changed.new_name = found.new_name;
      if (found.access_point !== snapshot.access_point) changed.access_point = found.access_point;
      return Object.keys(changed).length > 1 ? call("PATCH", path(filesystem.name, "/snapshots"), changed) : null;
    },
  });
  return done ? good("The snapshot was renamed.") : null;
}

async function restore(filesystem, snapshot) {
  let changed = null;
  await askByName({
    title: `Put ${filesystem.name} back to ${snapshot.name}?`, name: filesystem.name,
    content: [element("p", {}, "Everything that was changed, made or removed since is put back. All snapshots stay."),
      filesystem.status === "stopped" ? null
        : warn(`It is ${filesystem.status}: unmount it on its host (coffer fs umount ${filesystem.name}), so that it is stopped, first.`)],
    fields: [field({ label: "Keep what is overwritten as the snapshot", name: "keep_as", maxlength: 255, value: `before-${snapshot.name}`.slice(0, 255),
      hint: "Without a name, what was written since is gone, but for what other snapshots hold" })],
    action: "Restore",
    send: async (found) => { ({ changed } = await call("POST", path(filesystem.name, "/restore"), { ...found, snapshot: snapshot.name })); },
  });
  if (changed === null) return null;
  return good(`${filesystem.name} is back to ${snapshot.name}: ${changed} files and folders differed.`);
}

async function remove(filesystem, snapshot) {
  const done = await askByName({
    title: `Remove the snapshot ${snapshot.name}?`, name: snapshot.name,
    content: [element("p", {}, snapshot.uploads.length
      ? "What only it holds is deleted here. What was uploaded of it stays in the object store."
      : "What only it holds is deleted. Nothing brings it back: it was not uploaded.")],
    action: "Remove", send: () => call("DELETE", path(filesystem.name, "/snapshots"), { name: snapshot.name }),
  });
  return done ? good(`${snapshot.name} is removed; what only it held is given back by and by.`) : null;
}

/* ---------------------------------------------------------------- what differs between two */

const CHANGES = { added: "good", removed: "bad", changed: "warn", renamed: "dim" };

function differenceTable(of, rows) {
  return table(`What differs from ${of}`, [
    ["Change", (row) => badge(row.change, CHANGES[row.change] || "dim")],
    ["What", (row) => [row.type, row.content || row.attributes
      ? element("p", { class: "hint" }, [row.content && "content", row.attributes && "attributes"].filter(Boolean).join(", ")) : null]],
    ["Path", (row) => [element("code", {}, row.path), row.old_path ? element("p", { class: "hint" }, "was ", element("code", {}, row.old_path)) : null]],
  ], rows, "Nothing differs.");
}

/* older and newer are names; a newer of "" is what the filesystem is now. */
function differencesReport(filesystem, older, newer, page, first) {
  const list = element("div", {});
  const refused = element("div", {});
  const of = `${older} to ${newer || `what ${filesystem.name} is now`}`;
  const rows = [];
  const show = ({ differences, behind }) => {
    rows.push(...differences);
    const more = async (event) => {
      event.target.disabled = true;
      try {
        show(await page(behind));
      } catch (error) {
        replace(refused, refusal(error));
        event.target.disabled = false;
      }
    };
    replace(refused);
    replace(list, rows.length || !behind ? differenceTable(of, rows) : null, behind
      ? element("div", { class: "actions" }, button("More", more), element("p", { class: "hint" }, `${rows.length} so far; there may be more.`)) : null);
  };
  show(first);
  const made = report(`From ${of}`, list, refused,
    element("div", { class: "actions" }, button("Close", () => made.remove(), "quiet")));
  return made;
}

async function compare(filesystem, snapshot, snapshots) {
  const others = snapshots.filter((one) => one.id !== snapshot.id && one.status === "ready");
  let said = null;
  await ask({
    title: `Compare ${snapshot.name}`,
    content: [element("p", {}, "Which files and folders were added, removed, changed or renamed, from the older one to the newer one. The more there are, the longer it takes.")],
    fields: [select("With", "other", [["", `what ${filesystem.name} is now`], ...others.map((one) => [String(one.id), one.name])], "")],
    action: "Compare",
    send: async ({ other }) => {
      const second = others.find((one) => String(one.id) === other);
      /* They are numbered in the order in which they came here. */
      const [older, newer] = !second ? [snapshot.name, ""] : [snapshot, second].sort((one, next) => one.id - next.id).map((one) => one.name);
      const page = (behind) => call("POST", path(filesystem.name, "/snapshots/diff"),
        { older, ...(newer ? { newer } : {}), ...(behind ? { behind } : {}) });
      said = differencesReport(filesystem, older, newer, page, await page(""));
    },
  });
  return said;
}

/* ---------------------------------------------------------------- how they are shown */

function uploads(snapshot, tasks) {
  return [
    snapshot.uploads.map((one) => element("div", {}, storeLink(one.object_store), ", ", time(one.uploaded),
      copyable("Locator", one.locator))),
    tasks.filter((task) => task.kind === "upload" && task.snapshot === snapshot.id).map((task) =>
      element("div", {}, element("a", { href: "#/tasks" }, `to ${task.object_store}: ${task.state}${task.percent === null ? "" : `, ${task.percent} %`}`))),
  ];
}

function actions(shown, snapshot, who, act) {
  if (snapshot.status !== "ready") return null;
  const named = (label, work, kind) => small(label, snapshot.name, () => act((filesystem, snapshots) =>
    work(filesystem, snapshots.find((one) => one.id === snapshot.id) || snapshot, snapshots)), kind);
  const mayChange = may(who, "filesystem") && isUp(shown.filesystem);
  return element("div", { class: "actions" },
    mayChange ? named("Upload", upload) : null,
    mayChange ? named("Compare", compare) : null,
    mayChange ? named("Rename", rename) : null,
    may(who, "admin") ? named("Restore", restore) : null,
    may(who, "admin") ? named("Remove", remove, "danger") : null);
}

function rows(shown, who, act) {
  return table(`Snapshots of ${shown.filesystem.name}`, [
    ["Name", (row) => [element("strong", {}, row.name), " ", badge(row.status, row.status === "ready" ? "good" : "warn"), element("p", { class: "hint" }, element("code", {}, `.snapshots/${row.access_point}`)),
      row.mounted_at ? element("p", { class: "hint" }, `mounted at ${row.mounted_at}`) : null]],
    ["Taken", (row) => time(row.created)],
    ["Uploaded to", (row) => uploads(row, shown.tasks)],
    ["", (row) => actions(shown, row, who, act)],
  ], shown.snapshots, `There is no snapshot of ${shown.filesystem.name}.${isUp(shown.filesystem) ? "" : " Start it under Filesystems to take one."}`);
}

function state(filesystem, tasks) {
  return element("p", {}, `${filesystem.name} is `, badge(filesystem.status, isUp(filesystem) ? "good" : "dim"),
    isUp(filesystem) ? null : [" ", element("span", { class: "hint" }, "Snapshots are taken and uploaded while it is started (", element("a", { href: "#/filesystems" }, "Filesystems"), "); going back to one needs it stopped.")],
    /* Uploads stand beside their snapshots. */
    tasks.filter((task) => task.kind !== "upload").map((task) => [" ", element("a", { href: "#/tasks" }, `Task ${task.id}`), `, ${task.about}: ${task.state}.`]));
}

/* ---------------------------------------------------------------- the page */

export async function snapshotsPage(content, who, parameters) {
  const names = (await get("/filesystems")).map((row) => row.name);
  if (names.length === 0) {
    replace(content, panel("Snapshots", element("p", { class: "empty" }, "There is no filesystem yet; add one under ",
      element("a", { href: "#/filesystems" }, "Filesystems"), ".")));
    return;
  }
  const wanted = parameters.get("filesystem");
  const chooser = select("Filesystem", "filesystem", names, names.includes(wanted) ? wanted : names[0]);
  const chosen = chooser.querySelector("select");
  const list = element("div", {});
  let shown = null;

  const running = async (name) => (await get("/tasks")).filter((task) => task.filesystem === name && task.ended === null);
  const show = () => renew(list, state(shown.filesystem, shown.tasks), rows(shown, who, act),
    may(who, "filesystem") && isUp(shown.filesystem)
      ? element("div", { class: "actions" }, button("Take snapshot", () => act(take), "main")) : null,
    element("p", { class: "hint" }, "What was uploaded, also by other hosts, and how it comes back: ", allStores()));
  const reload = async () => {
    const name = chosen.value;
    try {
      const [filesystem, tasks] = await Promise.all([get(path(name)), running(name)]);
      const snapshots = await get(path(name, "/snapshots"));
      if (name !== chosen.value) return;
      shown = { filesystem, tasks, snapshots };
      show();
    } catch (error) {
      if (name === chosen.value) replace(list, refusal(error));
    }
  };
  const { answer, act: doing } = answering(reload);
  /* A button may be older than what is known now. */
  const act = (work) => doing(() => work(shown.filesystem, shown.snapshots));
  /* Of a stopped filesystem the list has its keys unwrapped, so that is asked for only when something
   * is known to have changed. */
  const look = async () => {
    if (!shown || shown.filesystem.name !== chosen.value) return;
    const { filesystem, tasks, snapshots } = shown;
    try {
      const now = await running(filesystem.name);
      if (shown.filesystem !== filesystem) return;
      if (now.length < tasks.length || snapshots.some((row) => row.status !== "ready")) await reload();
      else {
        shown.tasks = now;
        show();
      }
    } catch {
      /* It is asked again soon. */
    }
  };
  chosen.addEventListener("change", async () => {
    history.replaceState(null, "", `#/snapshots?filesystem=${encodeURIComponent(chosen.value)}`);
    replace(answer);
    replace(list, element("p", { class: "working" }, "Loading…"));
    await reload();
  });
  replace(list, element("p", { class: "working" }, "Loading…"));
  replace(content, panel("Snapshots", element("div", { class: "narrow" }, chooser), answer, list));
  await reload();
  watch(content, look);
}
