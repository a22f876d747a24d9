/* The object stores: which there are, adding, trying, changing and forgetting them. What one holds is
 * in pages-uploads.js. */
import { call, get, may } from "/api.js";
import { answering, ask, askByName, good } from "/dialog.js";
import { capacity, element, panel, refusal, replace, table } from "/dom.js";
import { button, checkbox, choice, field, only, select, small } from "/forms.js";
import { uploadsPage } from "/pages-uploads.js";

const MIB = 1024 ** 2;
const KINDS = [["s3", "A bucket (S3)"], ["dir", "A folder"]];
const SITES = [["local", "beside this host"], ["remote", "far from it"]];

const path = (store, action = "") => `/object-stores/${encodeURIComponent(store.name)}${action}`;

export function storeLink(name) {
  return element("a", { href: `#/stores?name=${encodeURIComponent(name)}` }, name);
}

/* ---------------------------------------------------------------- the form */

function bucketFields(store, isNew) {
  return element("div", { class: "group" },
    field({ label: "Host name", name: "hostname", required: true, value: store.hostname, placeholder: "s3.eu-west-1.amazonaws.com" }),
    element("div", { class: "row" },
      field({ label: "Bucket", name: "bucket", required: true, value: store.bucket }),
      field({ label: "Prefix", name: "prefix", value: store.prefix })),
    element("p", { class: "hint" }, "The bucket must be there. The prefix keeps apart what several hosts have in it."),
    field({ label: "Access key ID", name: "access_key_id", required: true, value: store.access_key_id }),
    field({ label: "Secret key", name: "secret_key", type: "password", required: isNew, secret: true,
      hint: isNew ? "It is not shown again." : "Left empty, the one that is kept goes on being used." }),
    element("details", {}, element("summary", {}, "Further settings"),
      field({ label: "Region", name: "region", value: store.region, placeholder: "us-east-1" }),
      element("div", { class: "row" },
        select("Protocol", "protocol", ["HTTPS", "HTTP"], store.protocol || "HTTPS"),
        field({ label: "Port", name: "port", inputmode: "numeric", pattern: "[0-9]+", value: store.port || "", placeholder: "443" })),
      field({ label: "CA certificate", name: "ca_cert", rows: 5,
        hint: store.ca_cert ? "PEM text. One is set; left empty, it stays." : "PEM text, trusted in place of the system's CAs" }),
      store.ca_cert ? checkbox("Trust the system's CAs again", "no_ca_cert") : null,
      field({ label: "Requests at once", name: "max_concurrent", inputmode: "numeric", pattern: "[0-9]+", value: store.max_concurrent || "", placeholder: "16" })));
}

function commonFields(store) {
  const rate = (bytes) => (bytes ? String(bytes / MIB) : "");
  const limit = (label, name) => field({ label, name, inputmode: "decimal", pattern: "[0-9]+([.][0-9]+)?", value: rate(store[name]) });
  return element("details", {}, element("summary", {}, "Site and limits"),
    select("Site", "site", SITES, store.site || "local"),
    element("p", { class: "hint" }, "Uploads, downloads and policies can mean the only object store of a site."),
    element("div", { class: "row" }, limit("Upload limit, MiB a second", "upload_bandwidth"), limit("Download limit, MiB a second", "download_bandwidth")),
    checkbox("Do not try it", "skip_verification", "For an access key that may only read"));
}

/* What the form says, as the interface wants it; of an existing store only what differs. */
function settings(found, store) {
  const { no_ca_cert: isWithoutCa, ...given } = found;
  if (isWithoutCa) given.ca_cert = "";
  for (const name of ["port", "max_concurrent"]) given[name] = Number(found[name] || 0);
  for (const name of ["upload_bandwidth", "download_bandwidth"]) given[name] = Math.round(Number(found[name] || 0) * MIB);
  for (const name of ["prefix", "region"]) given[name] = found[name] || (name === "region" ? "us-east-1" : "");
  if (found.type === "dir") for (const name of ["port", "max_concurrent", "prefix", "region"]) delete given[name];
  if (!store) return given;
  delete given.type;
  return Object.fromEntries(Object.entries(given).filter(([name, value]) => value !== store[name]));
}

async function add() {
  const bucket = bucketFields({}, true);
  const folder = element("div", { class: "group" }, field({ label: "Folder", name: "path", required: true, placeholder: "/mnt/nas/coffer",
    hint: "An absolute path, on a disk of its own or on what is mounted there; cofferd must be able to write to it" }));
  const show = (type) => {
    only(bucket, type === "s3");
    only(folder, type === "dir");
  };
  show("s3");
  let store = null;
  await ask({
    title: "Add an object store",
    fields: [
      field({ label: "Name", name: "name", required: true, maxlength: 32, pattern: "[A-Za-z0-9._\\-]+" }),
      choice("Kind", "type", KINDS, "s3", show), bucket, folder, commonFields({}),
    ],
    action: "Add", send: async (found) => { store = await call("POST", "/object-stores", settings(found)); },
  });
  return store ? good(`${store.name} was added. Snapshots can be uploaded to it now: `, element("a", { href: "#/snapshots" }, "Snapshots"), ".") : null;
}

async function update(store) {
  const done = await ask({
    title: `Update ${store.name}`,
    content: [element("p", {}, "What is changed is tried before it is kept.")],
    fields: [
      store.type === "s3" ? bucketFields(store, false) : field({ label: "Folder", name: "path", required: true, value: store.path }),
      commonFields(store),
    ],
    action: "Update", send: (found) => call("PATCH", path(store), settings({ ...found, type: store.type }, store)),
  });
  return done ? good(`${store.name} was changed.`) : null;
}

async function remove(store) {
  const done = await askByName({
    title: `Forget ${store.name}?`, name: store.name,
    content: [element("p", {}, "coffer forgets it and its secret key. What lies in it stays, and can be reached again when it is added anew.")],
    action: "Forget", send: () => call("DELETE", path(store)),
  });
  return done ? good(`${store.name} is forgotten; what lies in it stays.`) : null;
}

/* ---------------------------------------------------------------- the list */

function where(store) {
  if (store.type === "dir") return element("code", {}, store.path);
  const port = store.port ? `:${store.port}` : "";
  return [element("code", {}, `${store.bucket}${store.prefix ? `/${store.prefix}` : ""}`),
    element("p", { class: "hint" }, `${store.protocol.toLowerCase()}://${store.hostname}${port}, ${store.region}, access key ${store.access_key_id}`)];
}

function limits(store) {
  const one = (what, bytes) => (bytes ? `${what} at most ${capacity(bytes)}/s` : "");
  const said = [one("upload", store.upload_bandwidth), one("download", store.download_bandwidth)].filter(Boolean).join(", ");
  return said ? element("p", { class: "hint" }, said) : null;
}

function rows(stores, who, does) {
  return table("Object stores", [
    ["Name", (store) => [element("strong", {}, storeLink(store.name)), element("p", { class: "hint" }, new Map(SITES).get(store.site))]],
    ["Where", (store) => [where(store), limits(store)]],
    ["", (store) => (may(who, "admin") ? element("div", { class: "actions" },
      small("Check", store.name, () => does.check(store)), small("Update", store.name, () => does.act(() => update(store))),
      small("Forget", store.name, () => does.act(() => remove(store)), "danger")) : null)],
  ], stores, "There is no object store. Snapshots are uploaded to one, a bucket or a folder of another disk, so that they outlive this host.");
}

export async function storesPage(content, who, parameters) {
  const name = parameters.get("name");
  if (name) {
    await uploadsPage(content, who, name);
    return;
  }
  const list = element("div", {});
  const reload = async () => replace(list, rows(await get("/object-stores"), who, { act, check }));
  const { answer, act } = answering(reload);
  const check = async (store) => {
    replace(answer, element("p", { class: "working", role: "status" }, `Trying ${store.name}…`));
    try {
      await call("POST", path(store, "/check"));
      replace(answer, good(`${store.name} was tried, and does what coffer needs.`));
    } catch (error) {
      replace(answer, refusal(error));
    }
  };
  await reload();
  replace(content, panel("Object stores", answer, list,
    may(who, "admin") ? element("div", { class: "actions" }, button("Add object store", () => act(add), "main")) : null));
}
