/* The key server: not set, Configure KMS, view, Update, Reset; its check; rewrapping; the CA. */
import { call, get, may } from "/api.js";
import { ask } from "/dialog.js";
import { announce, badge, card, element, facts, notice, refusal, replace, table, time } from "/dom.js";
import { button, checkbox, field, form, submit } from "/forms.js";
import { KMS_TYPES, kmsFields, kmsOf, rewrapTable, unneededText } from "/kms-form.js";

const LOGINS = { token: "Token", approle: "AppRole", kubernetes: "Kubernetes", "client-certificate": "Client certificate" };
const RESULTS = { ok: "good", warning: "warn", failed: "bad", skipped: "dim" };

function steps(list) {
  return table("Steps of the check", [
    ["Result", (row) => badge(row.result, RESULTS[row.result] || "dim")],
    ["Step", (row) => row.step],
    ["Address", (row) => row.address],
    ["What was found", (row) => [row.text, row.action ? element("p", { class: "todo" }, row.action) : null]],
  ], list, "Nothing was found.");
}

/* Who reads this may be about to take the former KMS away. */
function keysLeft(list, isReset) {
  return element("div", {},
    table("Keys that stay wrapped as they were", [
      ["Filesystem", (row) => row.filesystem],
      ["Which, and why", (row) => row.text],
    ], list, ""),
    element("p", { class: "todo" }, "Keep the KMS that wrapped these keys, with all versions of its key. ", isReset
      ? "Set it again when it opens them: nothing else brings them back."
      : "Set it again, then this one, when it opens them: that has them wrapped by this one."));
}

/* ---------------------------------------------------------------- the form */

function settings(kms, title, done) {
  return form(title, kmsFields(kms).fields, [submit(kms.configured ? "Update KMS" : "Configure KMS"), button("Cancel", () => done(null))],
    async (found) => done(await call("PUT", "/kms", kmsOf(found))));
}

/* ---------------------------------------------------------------- the view */

function tokenFacts(token) {
  if (!token) return "";
  if (!token.ends) return "lives for ever";
  const hours = token.seconds_left / 3600;
  const left = hours < 48 ? `${hours.toFixed(1)} hours` : `${Math.floor(hours / 24)} days`;
  return `${left} left, ${token.renewed ? "renewed in time by coffer" : token.obstacle || "not renewed"}`;
}

function view(kms) {
  return facts([
    ["Type", KMS_TYPES[kms.type]],
    ["Address", kms.addresses.join(", ")],
    [kms.type === "vault" ? "Key Identifier" : "KMS Identifier", kms.key],
    ["Key version", kms.key_version || ""],
    ["Key state", kms.key_state],
    ["Algorithm", kms.algorithm],
    ["Namespace", kms.namespace],
    ["Transit path", kms.type === "vault" ? kms.transit_path : ""],
    ["Login", LOGINS[kms.auth_method] || kms.auth_method],
    ["Role", kms.role],
    ["User name", kms.username],
    ["Cipher mode", kms.cipher_mode],
    ["Token", tokenFacts(kms.token)],
    ["Server", kms.server],
    ["State", kms.reachable ? badge("reachable", "good") : badge("not reachable", "bad")],
  ]);
}

async function reset(reload) {
  let answer = null;
  const done = await ask({
    title: "Reset the KMS?",
    content: [element("p", {}, "coffer forgets the key server and its credentials. It is refused while the key of a filesystem is wrapped by it.")],
    fields: [checkbox("Wrap the keys of filesystems with local keys instead", "allow_downgrade",
      "Their keys then lie in files of this host, and no key server protects them")],
    action: "Yes, reset", kind: "danger",
    send: async (found) => { answer = await call("DELETE", "/kms", found); },
  });
  if (done) {
    announce("The KMS was reset");
    reload("The KMS was reset.", answer.keys_left);
  }
}

async function rewrap(kms, show) {
  let report = null;
  const done = await ask({
    title: "Rewrap the keys of all filesystems?",
    content: [element("p", {}, kms.type === "vault"
      ? "The newest version of the configured key wraps them from then on."
      : "The new key wraps them from then on, and becomes the configured one.")],
    fields: [
      kms.type === "kmip" ? field({ label: "UID of the new key", name: "new_key_uid", required: true }) : null,
      checkbox("Filesystems with a key of their own too", "all"),
      checkbox("Only tell what would be done", "dry_run"),
    ].filter(Boolean),
    action: "Rewrap",
    send: async (found) => { report = await call("POST", "/kms/rewrap", found); },
  });
  if (done) show(report);
}

function rewrapReport(report) {
  return card("Rewrapped", rewrapTable("Keys of filesystems", ["Filesystem", (row) => row.name], report.filesystems, "There is no filesystem."));
}

/* ---------------------------------------------------------------- the CA of Vault */

function caCard(ca, who, reload) {
  const rows = ca.configured
    ? table("CA certificates", [
      ["Subject", (row) => row.subject],
      ["Good until", (row) => time(row.until)],
      ["SHA-256", (row) => element("code", {}, row.sha256)],
    ], ca.certificates, "")
    : element("p", {}, "The system's CA certificates are trusted for Vault.");
  const set = () => ask({
    title: ca.configured ? "Replace the CA certificate" : "Set a CA certificate",
    fields: [field({ label: "CA certificate", name: "cert", rows: 6, required: true, hint: "PEM text, one or more. They are trusted for Vault in place of the system's." })],
    action: "Set", send: async (found) => { ca = await call("PUT", "/ca-cert", found); },
  }).then((done) => done && reload(ca.kms_error ? `Set. But Vault cannot be used at present: ${ca.kms_error}` : "The CA certificate was set."));
  const unset = () => ask({
    title: "Trust the system's CA certificates again?", action: "Yes, reset", kind: "danger",
    send: () => call("DELETE", "/ca-cert"),
  }).then((done) => done && reload("The CA certificate was reset."));
  const download = () => {
    const link = element("a", { href: URL.createObjectURL(new Blob([ca.pem], { type: "application/x-pem-file" })), download: "coffer-ca.pem" });
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return card("CA certificate for Vault", rows, element("div", { class: "actions" },
    may(who, "keys") ? button(ca.configured ? "Replace CA certificate" : "Set CA certificate", set) : null,
    ca.configured ? button("Download CA certificate", download) : null,
    ca.configured && may(who, "keys") ? button("Reset CA certificate", unset) : null));
}

/* ---------------------------------------------------------------- the page */

export async function kmsPage(content, who) {
  const [kms, ca] = await Promise.all([get("/kms"), get("/ca-cert")]);
  show(content, who, kms, ca, null);
}

function show(content, who, kms, ca, message) {
  const extra = element("div", {});
  const reload = async (text, left = []) => {
    const [newKms, newCa] = await Promise.all([get("/kms"), get("/ca-cert")]);
    show(content, who, newKms, newCa, text ? notice(left.length ? "warn" : "good", element("p", {}, text),
      left.length ? keysLeft(left, true) : null) : null);
  };
  const edit = () => {
    const title = kms.configured ? "Update KMS" : "Configure KMS";
    replace(content, card(title, settings(kms, title, (answer) => {
      if (!answer) {
        show(content, who, kms, ca, null);
        return;
      }
      announce("The KMS is configured");
      const warnings = answer.warnings || [];
      const left = answer.keys_left || [];
      show(content, who, answer, ca, notice(warnings.length || left.length ? "warn" : "good",
        element("p", {}, `The KMS is configured${answer.rewrapped ? `; the keys of ${answer.rewrapped} filesystems were wrapped anew` : ""}.`),
        warnings.length ? steps(warnings) : null,
        left.length ? keysLeft(left) : null));
    })));
    content.querySelector("input").focus();
  };
  const check = async (event) => {
    const pressed = event.target;
    pressed.disabled = true;
    replace(extra, element("p", { class: "working", role: "status" }, "Checking each step…"));
    try {
      const found = await call("POST", "/kms/check");
      replace(extra, card("Check", element("p", {}, "Result: ", badge(found.result, RESULTS[found.result])), steps(found.steps)));
      announce(`The check ended: ${found.result}`);
    } catch (error) {
      replace(extra, refusal(error));
    } finally {
      pressed.disabled = false;
    }
  };
  const mayChange = may(who, "keys");
  const main = kms.configured
    ? card("KMS", view(kms), unneededText(kms.unneeded), kms.error ? notice("bad", element("p", {}, kms.error)) : null,
      mayChange ? element("div", { class: "actions" },
        button("Update KMS", edit, "main"), button("Check", check),
        button("Rewrap", () => rewrap(kms, (report) => replace(extra, rewrapReport(report)))),
        button("Reset KMS", () => reset(reload), "danger")) : null)
    : card("KMS", kms.error ? notice("bad", element("p", {}, kms.error)) : element("p", {}, "No key server is configured. Encrypted filesystems need one."),
      mayChange ? element("div", { class: "actions" }, button("Configure KMS", edit, "main")) : element("p", { class: "hint" }, "A KeyAdmin or ClusterAdmin can configure it."));
  replace(content, message, main, extra, caCard(ca, who, reload));
}
