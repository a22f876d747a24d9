/* Elements, made without ever reading text as HTML: whatever a server said is only text. */

/* element("a", {href: "#/", class: "x", onclick: f}, "text", child, ...): null and false children
 * are left out, lists are taken apart. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else made.setAttribute(key, String(value));
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export function replace(parent, ...children) {
  parent.replaceChildren(...children.flat(Infinity).filter(Boolean));
}

let count = 0;
export function uniqueId(prefix) {
  count += 1;
  return `${prefix}-${count}`;
}

/* Tells those who do not see the page what happened. */
export function announce(text) {
  const announcer = document.getElementById("announcer");
  announcer.textContent = "";
  requestAnimationFrame(() => { announcer.textContent = text; });
}

export function notice(kind, ...children) {
  return element("div", { class: `notice ${kind}`, role: kind === "bad" ? "alert" : "status" }, ...children);
}

/* What the server refused with, word for word. */
export function refusal(error) {
  return notice("bad", element("p", {}, error.message));
}

export function badge(text, kind) {
  return element("span", { class: `badge ${kind}` }, text);
}

export function time(text) {
  if (!text) return "";
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return text;
  return element("time", { datetime: text, title: text }, date.toLocaleString(undefined, { timeZoneName: "short" }));
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
export function capacity(bytes) {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/* Seconds, in words for people. */
export function duration(seconds) {
  const whole = Math.round(seconds);
  if (whole >= 86400) return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
  if (whole >= 3600) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return whole >= 60 ? `${Math.floor(whole / 60)} min` : `${whole} s`;
}

/* What is long and is copied rather than read. */
export function copyable(label, text) {
  const code = element("code", {}, text);
  const copy = async (event) => {
    const pressed = event.currentTarget;
    try {
      await navigator.clipboard.writeText(text);
      pressed.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); /* the browser does not let us: then by hand */
    }
  };
  return element("details", { class: "long" }, element("summary", {}, label),
    element("p", {}, code), element("button", { type: "button", class: "small", onclick: copy, "aria-label": `Copy the ${label.toLowerCase()}` }, "Copy"));
}

/* [term, what]: those without a what are left out. */
export function facts(rows) {
  return element("dl", { class: "facts" }, rows
    .filter(([, what]) => what !== "" && what !== null && what !== undefined)
    .map(([term, what]) => element("div", {}, element("dt", {}, term), element("dd", {}, what))));
}

/* columns: [heading, row => content]; on a narrow screen each row becomes a block with headings. */
export function table(caption, columns, rows, empty) {
  if (rows.length === 0) return element("p", { class: "empty" }, empty);
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    element("table", {},
      element("caption", { class: "visually-hidden" }, caption),
      element("thead", {}, element("tr", {}, columns.map(([heading]) => element("th", { scope: "col" }, heading)))),
      element("tbody", {}, rows.map((row) => element("tr", {},
        columns.map(([heading, content]) => element("td", { "data-heading": heading }, content(row))))))));
}

/* ---------------------------------------------------------------- what is shown anew */

const WHOLE = new Set(["a", "button", "input", "select", "textarea", "summary"]);

function exchange(old, made) {
  const focused = document.activeElement;
  const name = (at) => at.getAttribute("aria-label") || at.textContent;
  const had = old.contains(focused) ? name(focused) : null;
  old.replaceWith(made);
  if (had === null) return;
  const places = made instanceof Element ? [made, ...made.querySelectorAll("*")].filter((at) => at.tabIndex >= 0) : [];
  (places.find((at) => name(at) === had) || places[0] || document.querySelector("h1")).focus();
}

function liken(old, made) {
  if (old.localName === "details" && old.open) made.open = true;
  if (old.isEqualNode(made)) return;
  const parts = [...made.childNodes];
  if (old.nodeName !== made.nodeName || !parts.length || old.childNodes.length !== parts.length || WHOLE.has(old.localName)) {
    exchange(old, made);
    return;
  }
  for (const { name } of [...old.attributes]) if (!made.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of made.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  [...old.childNodes].forEach((part, i) => liken(part, parts[i]));
}

/* As replace(), but leaves alone what is the same: the focus and what is opened stay, however often a
 * list is asked for. What has handlers is exchanged as a whole. */
export function renew(parent, ...children) {
  const parts = children.flat(Infinity).filter(Boolean);
  if (parts.length !== parent.childNodes.length) parent.replaceChildren(...parts);
  else [...parent.childNodes].forEach((part, i) => liken(part, parts[i]));
}

/* The part of a page that its own title names already. */
export function panel(label, ...children) {
  return element("section", { class: "card", "aria-label": label }, ...children);
}

export function card(title, ...children) {
  const id = uniqueId("card");
  return element("section", { class: "card", "aria-labelledby": id }, element("h2", { id }, title), ...children);
}
