/* The form of a key server, for the one that is configured and for another one, and what was wrapped
 * anew. */
import { badge, element, table, time } from "/dom.js";
import { checkbox, choice, field, only } from "/forms.js";

export const KMS_TYPES = { vault: "HashiCorp Vault", kmip: "KMIP" };

function vaultFields(kms) {
  const of = (type) => (kms.type === "vault" ? type : "");
  const method = of(kms.auth_method) || "approle";
  const groups = {
    approle: element("div", { class: "group" },
      field({ label: "Role ID", name: "role_id", value: method === "approle" ? of(kms.role) : "", required: true }),
      field({ label: "Secret ID", name: "secret_id", type: "password", required: true, secret: true })),
    token: element("div", { class: "group" },
      field({ label: "Token", name: "token", type: "password", required: true, secret: true }),
      checkbox("Leave renewing the token to me", "no_token_renewal")),
    kubernetes: element("div", { class: "group" },
      field({ label: "Role", name: "kubernetes_role", value: method === "kubernetes" ? of(kms.role) : "", required: true,
        hint: "cofferd must run in a pod whose service account has this role" })),
  };
  const show = (chosen) => {
    for (const [name, group] of Object.entries(groups)) only(group, name === chosen);
  };
  show(method);
  return [
    field({ label: "Address", name: "address", value: of((kms.addresses || []).join(",")), required: true, inputmode: "url",
      placeholder: "https://vault.example.org:8200", hint: "A URL; several, separated by commas, are tried in this order" }),
    field({ label: "Key Identifier", name: "key", value: of(kms.key), required: true, hint: "The name of the transit key, which must exist" }),
    choice("Login", "auth", [["approle", "AppRole"], ["token", "Token"], ["kubernetes", "Kubernetes"]], method, show),
    Object.values(groups),
    field({ label: "Namespace", name: "namespace", value: of(kms.namespace) }),
    element("details", { open: Boolean(of(kms.auth_path)) || (of(kms.transit_path) || "transit") !== "transit" },
      element("summary", {}, "Further settings"),
      field({ label: "Transit path", name: "transit_path", value: of(kms.transit_path), placeholder: "transit" }),
      field({ label: "Path of the auth method", name: "auth_path", value: of(kms.auth_path), placeholder: "approle" }),
      checkbox("Allow http:// to another host", "insecure_http", "Keys and token then cross the network in clear", Boolean(of(kms.insecure_http)))),
  ];
}

function kmipFields(kms) {
  const of = (text) => (kms.type === "kmip" ? text : "");
  return [
    field({ label: "Address", name: "address", value: of((kms.addresses || []).join(",")), required: true,
      placeholder: "kmip.example.org:5696", hint: "hostname:port; several, separated by commas, are tried in this order" }),
    field({ label: "KMS Identifier", name: "key", value: of(kms.key), required: true, hint: "The UID of the key" }),
    field({ label: "Client Certificate", name: "client_cert", rows: 5, required: true, hint: "PEM text" }),
    field({ label: "Client Key", name: "client_key", rows: 5, required: true, secret: true, hint: "PEM text, without a passphrase. It is not shown again." }),
    field({ label: "CA Certificate", name: "ca_cert", rows: 5, hint: "PEM text; without it the system's CAs are trusted" }),
    element("details", { open: Boolean(of(kms.username)) || of(kms.cipher_mode) === "gcm" },
      element("summary", {}, "Further settings"),
      field({ label: "User name", name: "username", value: of(kms.username), hint: "Only if the server wants one besides the certificate" }),
      field({ label: "Password", name: "password", type: "password", secret: true }),
      checkbox("Wrap with AES-GCM", "gcm", "It needs KMIP 1.4; otherwise AES-CBC is used", of(kms.cipher_mode) === "gcm")),
  ];
}

/* kms: what the fields say at first, {} for nothing. Returns the fields, and refresh(), which is called
 * after all of them were hidden or shown: then only what belongs together is there. */
export function kmsFields(kms) {
  const vault = element("div", { class: "group" }, vaultFields(kms));
  const kmip = element("div", { class: "group" }, kmipFields(kms));
  const show = (type) => {
    only(vault, type === "vault");
    only(kmip, type === "kmip");
    if (type !== "vault") return;
    /* Within it, only the chosen login. */
    const login = vault.querySelector("input[name=auth]:checked");
    if (login) login.dispatchEvent(new Event("change"));
  };
  const types = choice("Type", "type", Object.entries(KMS_TYPES), kms.type || "vault", show);
  const refresh = () => show(types.querySelector("input:checked").value);
  refresh();
  return { fields: [types, vault, kmip], refresh };
}

/* What the form says, as the interface wants it. */
export function kmsOf({ auth, gcm, ...found }) {
  return gcm ? { ...found, cipher_mode: "gcm" } : found;
}

/* ---------------------------------------------------------------- what was wrapped anew */

const RESULTS = { rewrapped: "good", unchanged: "dim", planned: "warn", failed: "bad" };
const keyOf = (key, version) => (key ? `${key}${version ? `, version ${version}` : ""}` : "");

/* whose: [heading, row => content] */
export function rewrapTable(caption, whose, rows, empty) {
  return table(caption, [
    whose,
    ["Result", (row) => badge(row.result, RESULTS[row.result] || "dim")],
    ["Before", (row) => keyOf(row.old_key, row.old_version)],
    ["Now", (row) => keyOf(row.new_key, row.new_version)],
    ["Why", (row) => row.text],
  ], rows, empty);
}

/* Of what a KMS or its keys' wrapping anew is told with: the versions that nothing here needs any more. */
export function unneededText(unneeded) {
  if (!unneeded || unneeded.keys.length === 0) return null;
  const keys = unneeded.keys.map((one) => keyOf(one.key, one.version)).join("; ");
  return element("p", { class: "hint" }, "No key ring and no uploaded snapshot that this instance knew on ", time(unneeded.as_of), ` needs: ${keys}. Other instances, object stores that are not configured here, and backups may.`);
}
