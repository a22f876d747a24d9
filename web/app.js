/* The page: who is logged in, the menu, and which part of it is shown. */
import { logIn, logOut, may, session, whenLoggedOut } from "/api.js";
import { announce, element, refusal, replace } from "/dom.js";
import { button, field, form, submit } from "/forms.js";
import { filesystemsPage } from "/pages-filesystems.js";
import { kmsPage } from "/pages-kms.js";
import { alertsPage, auditPage, eventsPage } from "/pages-logs.js";
import { overviewPage } from "/pages-overview.js";
import { policiesPage } from "/pages-policies.js";
import { snapshotsPage } from "/pages-snapshots.js";
import { storesPage } from "/pages-stores.js";
import { tasksPage } from "/pages-tasks.js";
import { accountPage, usersPage } from "/pages-users.js";

const PAGES = [
  { path: "#/", title: "Overview", show: overviewPage },
  { path: "#/security", title: "Security", show: kmsPage },
  { path: "#/filesystems", title: "Filesystems", show: filesystemsPage },
  { path: "#/snapshots", title: "Snapshots", show: snapshotsPage },
  { path: "#/policies", title: "Policies", show: policiesPage },
  { path: "#/stores", title: "Object stores", show: storesPage },
  { path: "#/tasks", title: "Tasks", show: tasksPage },
  { path: "#/alerts", title: "Alerts", show: alertsPage },
  { path: "#/events", title: "Events", show: eventsPage },
  { path: "#/audit", title: "Audit", show: auditPage },
  { path: "#/users", title: "Users", show: usersPage, need: "admin" },
  { path: "#/account", title: "Account", show: accountPage },
];

const page = document.getElementById("page");
let who = null;

function logo() {
  return element("span", { class: "logo" }, element("img", { src: "/icon.svg", alt: "", width: "28", height: "28" }), "coffer");
}

/* ---------------------------------------------------------------- not logged in */

function showLogin(message) {
  who = null;
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  document.title = "Log in – coffer";
  replace(page, element("main", { id: "content", class: "login" },
    element("div", { class: "card" }, logo(), element("h1", {}, "Log in"),
      message ? element("p", { class: "notice warn", role: "status" }, message) : null,
      form("Log in", [
        field({ label: "User", name: "user", required: true, autocomplete: "username", maxlength: 32 }),
        field({ label: "Password", name: "password", type: "password", required: true, secret: true, autocomplete: "current-password" }),
      ], [submit("Log in")], async ({ user, password }) => {
        who = await logIn(user, password);
        showFrame();
        await showPage();
      }))));
  page.querySelector("input").focus();
}

/* ---------------------------------------------------------------- logged in */

function showFrame() {
  const leave = async () => {
    try {
      await logOut();
      showLogin("You are logged out.");
    } catch (error) {
      document.getElementById("content").prepend(refusal(error));
    }
  };
  replace(page,
    element("header", {}, logo(),
      element("div", { class: "who" }, element("a", { href: "#/account" }, `${who.user}, ${who.role}`), button("Log out", leave, "quiet"))),
    element("nav", { "aria-label": "Parts of this page" }, element("ul", {}, PAGES
      .filter((entry) => !entry.need || may(who, entry.need))
      .map((entry) => element("li", {}, element("a", { href: entry.path }, entry.title))))),
    element("main", { id: "content", tabindex: "-1" }));
}

/* What was asked for last is shown, in whatever order the answers come. */
let shown = 0;
async function showPage() {
  if (!who) return;
  const mine = ++shown;
  const [path, parameters] = (location.hash || "#/").split("?");
  const entry = PAGES.find((page) => page.path === path) || PAGES[0];
  const main = document.getElementById("content");
  const heading = element("h1", { tabindex: "-1" }, entry.title);
  const content = element("div", { class: "content" }, element("p", { class: "working" }, "Loading…"));
  document.title = `${entry.title} – coffer`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === entry.path) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  replace(main, heading, content);
  heading.focus({ preventScroll: true });
  try {
    await entry.show(content, who, new URLSearchParams(parameters));
    if (mine === shown) announce(`${entry.title} is shown`);
  } catch (error) {
    if (mine === shown) replace(content, refusal(error));
  }
}

async function start() {
  whenLoggedOut(() => { if (who) showLogin("Your session has ended; log in again."); });
  window.addEventListener("hashchange", showPage);
  /* Following it must not change what is shown. */
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("content").focus();
  });
  try {
    who = await session();
  } catch (error) {
    replace(page, refusal(error));
    return;
  }
  if (!who) {
    showLogin("");
    return;
  }
  showFrame();
  await showPage();
}

start();
