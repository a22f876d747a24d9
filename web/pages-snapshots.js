/* The snapshots of one filesystem: which there are and where they were uploaded; taking, renaming,
 * uploading and removing them, and going back to one. */
import { call, get, may } from "/api.js";
import { ask, askByName } from "/dialog.js";
import { announce, badge, copyable, element, notice, panel, refusal, renew, replace, table, time } from "/dom.js";
import { button, checkbox, field, select } from "/forms.js";
import { storeLink } from "/pages-stores.js";
import { began } from "/pages-tasks.js";
import { watch } from "/watch.js";

const path = (filesystem, action = "") => `/filesystems/${encodeURIComponent(filesystem)}${action}`;
const isUp = (filesystem) => ["started", "mounted"].includes(filesystem.status);
const stores = () => element("a", { href: "#/stores" }, "Object stores");

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
  return done ? notice("good", element("p", {}, "The snapshot was taken.")) : null;
}

async function upload(filesystem, snapshot) {
  const names = (await get("/object-stores")).map((store) => store.name);
  if (names.length === 0)
    return notice("warn", element("p", {}, "There is no object store to upload it to; add one first: ", stores(), "."));
  let task = null;
  await ask({
    title: `Upload the snapshot ${snapshot.name}`,
    content: [element("p", {}, "It goes up sealed, with its wrapped keys: who has the object store and the key server has the files. What is there already is not sent again.")],
    fields: [
      select("Object store", "object_store", names, names[0]),
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
  return done ? notice("good", element("p", {}, "The snapshot was renamed.")) : null;
}

async function restore(filesystem, snapshot) {
  let changed = null;
  await askByName({
    title: `Put ${filesystem.name} back to ${snapshot.name}?`, name: filesystem.name,
    content: [element("p", {}, "Everything that was changed, made or removed since is put back. All snapshots stay."),
      filesystem.status === "stopped" ? null
        : notice("warn", element("p", {}, `It is ${filesystem.status}: unmount it on its host (coffer fs umount ${filesystem.name}), so that it is stopped, first.`))],
    fields: [field({ label: "Keep what is overwritten as the snapshot", name: "keep_as", maxlength: 255, value: `before-${snapshot.name}`.slice(0, 255),
      hint: "Without a name, what was written since is gone, but for what other snapshots hold" })],
    action: "Restore",
    send: async (found) => { ({ changed } = await call("POST", path(filesystem.name, "/restore"), { ...found, snapshot: snapshot.name })); },
  });
  if (changed === null) return null;
  return notice("good", element("p", {}, `${filesystem.name} is back to ${snapshot.name}: ${changed} files and folders differed.`));
}

async function remove(filesystem, snapshot) {
  const done = await askByName({
    title: `Remove the snapshot ${snapshot.name}?`, name: snapshot.name,
    content: [element("p", {}, snapshot.uploads.length
      ? "What only it holds is deleted here. What was uploaded of it stays in the object store."
      : "What only it holds is deleted. Nothing brings it back: it was not uploaded.")],
    action: "Remove", send: () => call("DELETE", path(filesystem.name, "/snapshots"), { name: snapshot.name }),
  });
  return done ? notice("good", element("p", {}, `${snapshot.name} is removed; what only it held is given back by and by.`)) : null;
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
  const named = (label, work, kind = "") => {
    const made = button(label, () => act((filesystem, snapshots) => work(filesystem, snapshots.find((one) => one.id === snapshot.id) || snapshot)), `small ${kind}`);
    made.setAttribute("aria-label", `${label} ${snapshot.name}`);
    return made;
  };
  const mayChange = may(who, "filesystem") && isUp(shown.filesystem);
  return element("div", { class: "actions" },
    mayChange ? named("Upload", upload) : null,
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
    tasks.filter((task) => task.kind === "import").map((task) => [" ", element("a", { href: "#/tasks" }, `Task ${task.id} brings a snapshot in: ${task.state}`)]));
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
  const answer = element("div", {});
  const list = element("div", {});
  let shown = null;

  const running = async (name) => (await get("/tasks")).filter((task) => task.filesystem === name && task.ended === null);
  const show = () => renew(list, state(shown.filesystem, shown.tasks), rows(shown, who, act),
    may(who, "filesystem") && isUp(shown.filesystem)
      ? element("div", { class: "actions" }, button("Take snapshot", () => act(take), "main")) : null,
    element("p", { class: "hint" }, "What was uploaded, also by other hosts, and how it comes back: ", stores()));
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
  /* A button may be older than what is known now. */
  const act = async (work) => {
    replace(answer);
    try {
      const said = await work(shown.filesystem, shown.snapshots);
      if (!said) return;
      replace(answer, said);
      announce(said.textContent);
    } catch (error) {
      replace(answer, refusal(error));
    }
    await reload();
  };
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
