/* How things stand, at a glance. */
import { get } from "/api.js";
import { badge, card, element, facts, panel, replace, time } from "/dom.js";

const kmsState = (kms) => (kms.configured && kms.reachable ? badge("reachable", "good") : badge(kms.configured ? "not reachable" : "none", kms.configured ? "bad" : "warn"));

function kmsLine(kms) {
  if (!kms.configured) return "not configured";
  return `${kms.type === "vault" ? "Vault" : "KMIP"} ${kms.addresses[0]}`;
}

function tasksLine(tasks) {
  const open = tasks.filter((task) => task.ended === null);
  const waiting = open.filter((task) => task.state === "waiting").length;
  return [badge(open.length ? `${open.length} under way` : "none", "dim"), waiting ? badge(`${waiting} waiting`, "warn") : null, " ", element("a", { href: "#/tasks" }, "all tasks")];
}

export async function overviewPage(content) {
  const [status, tasks] = await Promise.all([get("/status"), get("/tasks")]);
  const alerts = status.alerts.filter((alert) => !alert.muted);
  replace(content,
    panel("Overview", facts([
      ["Key server", [kmsState(status.kms), " ", element("a", { href: "#/security" }, kmsLine(status.kms))]],
      ["Filesystems", element("a", { href: "#/filesystems" }, `${status.filesystems}, ${status.mounted} of them mounted`)],
      ["Tasks", tasksLine(tasks)],
      ["Alerts", [badge(alerts.length ? String(alerts.length) : "none", alerts.length ? "bad" : "good"), " ", element("a", { href: "#/alerts" }, "all alerts")]],
      ["Version", `coffer ${status.version}`],
      ["Running since", time(status.started_at)],
      ["Certificate", status.https ? [element("code", {}, status.https.certificate_sha256), element("p", { class: "hint" }, "good until ", time(status.https.certificate_until))] : ""],
    ])),
    alerts.length ? card("Needs attention", element("ul", { class: "plain" }, alerts.map((alert) => element("li", {},
      badge(alert.severity, alert.severity === "critical" ? "bad" : "warn"), " ", alert.text, element("p", { class: "todo" }, alert.action))))) : null);
}
