/* What takes long: how far it is, what it waits for, and pausing, resuming and aborting it. */
import { call, get, may } from "/api.js";
import { ask, good } from "/dialog.js";
import { announce, badge, capacity, card, copyable, duration, element, panel, refusal, renew, replace, table, time } from "/dom.js";
import { button, checkbox, small } from "/forms.js";
import { watch } from "/watch.js";

const STATES = { running: "good", waiting: "warn", paused: "dim", aborting: "warn", done: "good", failed: "bad", aborted: "dim" };
const PAGE = 20;

const hasEnded = (task) => task.ended !== null;
const title = (task) => task.about.charAt(0).toUpperCase() + task.about.slice(1);
const amount = (task, count) => (task.unit === "bytes" ? capacity(count) : String(count));

/* "1.2 GiB of 3 GiB, 30 MiB/s, 2 min left": as much of it as is known. */
export function progressText(task) {
  const known = [];
  if (task.total > 0) known.push(`${amount(task, task.done)} of ${amount(task, task.total)}`);
  else if (task.done > 0) known.push(amount(task, task.done));
  if (task.rate > 0) known.push(`${amount(task, task.rate)}/s`);
  if (task.seconds_left !== null && task.state === "running") known.push(`${duration(task.seconds_left)} left`);
  return known.join(", ");
}

export function progressBar(task) {
  const unknown = task.state === "running" ? undefined : 0; /* which moves, or does not */
  return element("progress", { max: 100, value: task.percent === null ? unknown : task.percent, "aria-label": `Progress of task ${task.id}` });
}

/* What is said where a task was begun. */
export function began(task) {
  announce(`Task ${task.id} has begun`);
  return good(`Task ${task.id} has begun: ${task.about}. `, element("a", { href: "#/tasks" }, "Tasks"), " shows how far it is.");
}

/* ---------------------------------------------------------------- what is changed */

function abort(task, act) {
  return ask({
    title: `Abort task ${task.id}?`,
    content: [element("p", {}, `${title(task)}. What is half done is undone; what it removed stays removed.`)],
    fields: [checkbox("End it also if what it left cannot be taken away", "force", "Then that stays where it is, until somebody cleans the object store")],
    action: "Abort", kind: "danger",
    send: (found) => call("POST", `/tasks/${task.id}/abort`, found),
  }).then((done) => done && act(null, "is being aborted"));
}

function actions(task, act) {
  const named = (label, what, kind) => small(label, `task ${task.id}`, what, kind);
  const change = (action, said) => () => act(() => call("POST", `/tasks/${task.id}/${action}`), said, task);
  const mayPause = ["running", "waiting"].includes(task.state);
  return element("div", { class: "actions" },
    task.state === "waiting" ? named("Try now", change("resume", "tries again")) : null,
    task.state === "paused" ? named("Resume", change("resume", "goes on")) : null,
    mayPause ? named("Pause", change("pause", "is paused")) : null,
    task.no_abort ? null : named("Abort", () => abort(task, act), "danger"));
}

/* ---------------------------------------------------------------- how they are shown */

function running(task, who, act) {
  return element("li", { class: "task" },
    element("h3", {}, `${title(task)} `, badge(task.state, STATES[task.state] || "dim")),
    progressBar(task),
    element("p", { class: "hint" }, [task.percent === null ? "" : `${task.percent} %`, progressText(task), task.phase && `now: ${task.phase}`].filter(Boolean).join(", ") || "not begun yet"),
    task.text ? element("p", { class: "todo" }, task.text) : null,
    element("p", { class: "hint" }, `Task ${task.id}, since `, time(task.created)),
    may(who, "filesystem") ? [
      task.no_abort ? element("p", { class: "hint" }, `It cannot be aborted: ${task.no_abort}.`) : null,
      actions(task, act)] : null);
}

function result(task) {
  if (task.text) return task.text;
  if (!task.result) return "";
  return task.result.startsWith("coffer1-") ? copyable("Locator", task.result) : task.result;
}

function endedList(tasks) {
  return table("Tasks that have ended", [
    ["Task", (task) => [element("strong", {}, title(task)), element("p", { class: "hint" }, `task ${task.id}`)]],
    ["State", (task) => badge(task.state, STATES[task.state] || "dim")],
    ["Ended", (task) => [time(task.ended), element("p", { class: "hint" }, `after ${duration((new Date(task.ended) - new Date(task.created)) / 1000)}`)]],
    ["Moved", (task) => (task.moved ? element("span", { class: "nowrap" }, capacity(task.moved)) : "")],
    ["What came of it", result],
  ], tasks, "None has ended yet.");
}

function underWay(tasks, who, act) {
  if (tasks.length) return element("ul", { class: "plain" }, tasks.map((task) => running(task, who, act)));
  return element("p", { class: "empty" }, "Nothing is under way. Uploading, downloading and verifying snapshots are tasks; they begin under ",
    element("a", { href: "#/snapshots" }, "Snapshots"), " and ", element("a", { href: "#/stores" }, "Object stores"), ".");
}

export async function tasksPage(content, who) {
  const answer = element("div", {});
  const now = element("div", {});
  const past = element("div", {});
  let limit = PAGE;
  const show = (tasks) => {
    const ended = tasks.filter(hasEnded).sort((one, other) => other.ended.localeCompare(one.ended) || other.id - one.id);
    const more = button("Older ones", () => { limit += PAGE; look(); });
    renew(now, underWay(tasks.filter((task) => !hasEnded(task)), who, act));
    renew(past, endedList(ended.slice(0, limit)), ended.length > limit ? element("div", { class: "actions" }, more) : null);
  };
  const look = async () => {
    try {
      show(await get("/tasks"));
      if (answer.dataset.from === "look") say(null);
    } catch (error) {
      say(refusal(error), "look");
    }
  };
  const say = (what, from = "") => {
    answer.dataset.from = from;
    replace(answer, what);
  };
  const act = async (work, said, task) => {
    try {
      if (work) await work();
      say(null);
      announce(task ? `Task ${task.id} ${said}` : `The task ${said}`);
    } catch (error) {
      say(refusal(error));
    }
    await look();
  };
  show(await get("/tasks"));
  replace(content, panel("Under way", answer, now), card("Ended", past,
    element("p", { class: "hint" }, "On the host: coffer task")));
  watch(content, look);
}
