/* Calls of the REST interface that served this page, and who is logged in. The token that each
 * change needs is kept here, in memory, and nowhere else. */

let csrf = "";

/* What the server answered in place of what was asked for: message is its own sentence. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/* Called when a session is over while the page is in use. */
let onLoggedOut = () => {};
export function whenLoggedOut(callback) {
  onLoggedOut = callback;
}

async function send(method, path, body) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && csrf) headers["X-Coffer-CSRF"] = csrf;
  let answer;
  try {
    answer = await fetch(`/api/v1${path}`, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin", redirect: "error", cache: "no-store",
    });
  } catch {
    throw new Refused(0, "cofferd does not answer; try again, or see to it on its host (coffer status)");
  }
  const result = await answer.json().catch(() => ({}));
  if (answer.ok) return result;
  throw new Refused(answer.status, result.error || `cofferd answered with status ${answer.status}`);
}

export async function call(method, path, body) {
  try {
    return await send(method, path, body);
  } catch (error) {
    if (error.status === 401) onLoggedOut();
    throw error;
  }
}

export const get = (path) => call("GET", path);

/* Who is logged in: {user, role}, or null. */
export async function session() {
  try {
    return take(await send("GET", "/session"));
  } catch (error) {
    if (error.status === 401) return null;
    throw error;
  }
}

export async function logIn(user, password) {
  return take(await send("POST", "/login", { user, password }));
}

export async function logOut() {
  try {
    await send("DELETE", "/session");
  } catch (error) {
    if (error.status !== 401) throw error;
  }
  csrf = "";
}

function take(answer) {
  csrf = answer.csrf;
  return { user: answer.user, role: answer.role };
}

/* What a role may ask for; the server decides, this only leaves out what it would refuse. */
const ALLOWED = {
  attention: ["Regular", "KeyAdmin", "ClusterAdmin"],
  filesystem: ["Regular", "ClusterAdmin"],
  keys: ["KeyAdmin", "ClusterAdmin"],
  admin: ["ClusterAdmin"],
};
export function may(who, need) {
  return ALLOWED[need].includes(who.role);
}

export function query(parameters) {
  const text = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "")).toString();
  return text ? `?${text}` : "";
}
