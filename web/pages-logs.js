/* What needs attention, what happened, and what was done to keys. */
import { call, get, may, query } from "/api.js";
import { ask } from "/dialog.js";
import { badge, card, element, notice, panel, refusal, replace, table, time } from "/dom.js";
import { button, field, form, select, submit } from "/forms.js";

const KINDS = { critical: "bad", warning: "warn", info: "dim" };
const TIMES = { "1 hour": 3600, "1 day": 86400, "1 week": 604800, "until it is unmuted": 0 };
const PAGE = 50;

/* ---------------------------------------------------------------- alerts */

function alertCard(alert, who, reload) {
  const mute = () => ask({
    title: `Mute ${alert.type}`,
    content: [element("p", {}, "Alerts of this type are hidden for a time. They go on to rise and clear, and to be events.")],
    fields: [select("For", "time", Object.keys(TIMES), "1 day"), field({ label: "Comment", name: "comment", maxlength: 190 })],
    action: "Mute",
    send: (found) => call("PUT", `/alerts/${alert.type}/mute`, { seconds: TIMES[found.time], comment: found.comment || "" }),
  }).then((done) => done && reload());
  const unmute = async () => {
    await call("DELETE", `/alerts/${alert.type}/mute`);
    reload();
  };
  return element("article", { class: `alert ${alert.muted ? "muted" : ""}` },
    element("h3", {}, badge(alert.severity, KINDS[alert.severity]), " ", alert.title, alert.filesystem ? `: ${alert.filesystem}` : ""),
    element("p", {}, alert.text),
    element("p", { class: "todo" }, alert.action),
    element("p", { class: "hint" }, `${alert.type}, since `, time(alert.time), alert.clearing ? ", clearing" : "",
      alert.muted ? ["; muted ", alert.muted_until === "for ever" ? "until it is unmuted" : ["until ", time(alert.muted_until)], alert.comment ? ` (${alert.comment})` : ""] : ""),
    may(who, "attention") ? element("div", { class: "actions" }, alert.muted ? button("Unmute", unmute, "small") : button("Mute", mute, "small")) : null);
}

export async function alertsPage(content, who) {
  const reload = async () => {
    const alerts = await get("/alerts");
    const shown = alerts.filter((alert) => !alert.muted);
    const muted = alerts.filter((alert) => alert.muted);
    replace(content,
      panel("Alerts", shown.length ? shown.map((alert) => alertCard(alert, who, reload)) : element("p", { class: "empty" }, "Nothing needs attention.")),
      muted.length ? card("Muted", muted.map((alert) => alertCard(alert, who, reload))) : null);
  };
  await reload();
}

/* ---------------------------------------------------------------- lists that go back in time */

/* source(before) gives entries, the oldest first. */
async function pages(content, title, fields, columns, path, extra) {
  const list = element("div", {});
  const rows = [];
  let filter = {};
  const more = async () => {
    const before = rows.length ? rows[rows.length - 1].number : "";
    const found = await get(`${path}${query({ ...filter, limit: String(PAGE), before: String(before) })}`);
    rows.push(...found.reverse());
    replace(list, table(title, columns, rows, "There is nothing of the kind."),
      found.length === PAGE ? element("div", { class: "actions" }, button("Older ones", () => more().catch((error) => list.append(refusal(error))))) : null);
  };
  const search = form(`Filter of ${title}`, [element("div", { class: "row" }, fields)], [submit("Show", "")], async (found) => {
    filter = found;
    rows.length = 0;
    await more();
  });
  await more();
  replace(content, panel(title, search, list), extra || null);
}

export function eventsPage(content) {
  return pages(content, "Events", [
    select("Severity", "severity", ["info", "warning", "critical"], "info"),
    field({ label: "Type", name: "type", isFilter: true }),
    field({ label: "Filesystem", name: "filesystem", isFilter: true }),
  ], [
    ["Time", (row) => time(row.time)],
    ["Severity", (row) => badge(row.severity, KINDS[row.severity])],
    ["Type", (row) => row.type],
    ["Filesystem", (row) => row.filesystem],
    ["What happened", (row) => row.text],
  ], "/events");
}

function verifyCard() {
  const answer = element("div", {});
  const verify = async () => {
    replace(answer, element("p", { class: "working", role: "status" }, "Walking the chain…"));
    try {
      const found = await get("/audit/verify");
      replace(answer, notice(found.intact ? "good" : "bad",
        element("p", {}, found.intact ? `All ${found.entries} entries are as they were written.` : `${found.faults} faults in ${found.entries} entries`),
        found.report.length ? element("ul", {}, found.report.map((fault) => element("li", {}, fault.text))) : null,
        element("p", {}, "Keep this elsewhere, to prove later that nothing was cut off: ", element("code", {}, `${found.number}:${found.hash}`))));
    } catch (error) {
      replace(answer, refusal(error));
    }
  };
  return card("Is it whole?", element("p", {}, "The entries form a chain of hashes, in which each change shows."), answer,
    element("div", { class: "actions" }, button("Verify", verify)));
}

export function auditPage(content) {
  return pages(content, "Audit log", [
    field({ label: "Operation", name: "operation", isFilter: true }),
    field({ label: "Filesystem", name: "filesystem", isFilter: true }),
  ], [
    ["Time", (row) => time(row.time)],
    ["By", (row) => row.by],
    ["Operation", (row) => row.operation],
    ["Filesystem", (row) => row.filesystem],
    ["Key", (row) => (row.kms_key ? `${row.kms_key}${row.kms_key_version ? `, version ${row.kms_key_version}` : ""}` : "")],
    ["Result", (row) => badge(row.result, row.result === "ok" ? "good" : "bad")],
    ["What for, or why not", (row) => row.text],
  ], "/audit", verifyCard());
}
