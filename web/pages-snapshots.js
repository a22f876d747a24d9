/* The snapshots of one filesystem: which there are, taking and removing them. */
import { call, get, may } from "/api.js";
import { ask } from "/dialog.js";
import { announce, badge, element, panel, refusal, replace, table, time } from "/dom.js";
import { button, field, select } from "/forms.js";

const path = (filesystem) => `/filesystems/${encodeURIComponent(filesystem)}/snapshots`;

async function take(filesystem, reload) {
  const done = await ask({
    title: `Take a snapshot of ${filesystem}`,
    content: [element("p", {}, "It holds every write that had returned. The filesystem must be started.")],
    fields: [
      field({ label: "Name", name: "name", required: true, maxlength: 255 }),
      field({ label: "Access point", name: "access_point", maxlength: 255, hint: "Its folder in .snapshots; without it, one is named by the time" }),
    ],
    action: "Take snapshot", send: (found) => call("POST", path(filesystem), found),
  });
  if (done) {
    announce("The snapshot was taken");
    await reload();
  }
}

async function remove(filesystem, snapshot, reload) {
  const done = await ask({
    title: `Remove the snapshot ${snapshot.name}?`,
    content: [element("p", {}, "What only it holds is deleted. Nothing brings it back.")],
    action: "Remove", kind: "danger",
    send: () => call("DELETE", path(filesystem), { name: snapshot.name }),
  });
  if (done) await reload();
}

function rows(filesystem, snapshots, who, reload) {
  return table(`Snapshots of ${filesystem}`, [
    ["Name", (row) => element("strong", {}, row.name)],
    ["Taken", (row) => time(row.created)],
    ["Access point", (row) => element("code", {}, `.snapshots/${row.access_point}`)],
    ["State", (row) => badge(row.status, row.status === "ready" ? "good" : "warn")],
    ["", (row) => {
      const made = button("Remove", () => remove(filesystem, row, reload), "small danger");
      made.setAttribute("aria-label", `Remove ${row.name}`);
      return may(who, "admin") && row.status === "ready" ? element("div", { class: "actions" }, made) : null;
    }],
  ], snapshots, `There is no snapshot of ${filesystem}.`);
}

export async function snapshotsPage(content, who) {
  const names = (await get("/filesystems")).map((row) => row.name);
  if (names.length === 0) {
    replace(content, panel("Snapshots", element("p", { class: "empty" }, "There is no filesystem yet.")));
    return;
  }
  const list = element("div", {});
  const chooser = select("Filesystem", "filesystem", names, names[0]);
  const chosen = chooser.querySelector("select");
  const reload = async () => {
    const filesystem = chosen.value;
    replace(list, element("p", { class: "working" }, "Loading…"));
    try {
      const snapshots = await get(path(filesystem));
      if (filesystem === chosen.value) replace(list, rows(filesystem, snapshots, who, reload));
    } catch (error) {
      if (filesystem === chosen.value) replace(list, refusal(error));
    }
  };
  chosen.addEventListener("change", reload);
  replace(content, panel("Snapshots", element("div", { class: "narrow" }, chooser), list,
    may(who, "filesystem") ? element("div", { class: "actions" }, button("Take snapshot", () => take(chosen.value, reload), "main")) : null));
  await reload();
}
