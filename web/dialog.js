/* Questions that must be answered before something is done, what several of them ask, and what is said
 * when it is done. */
import { get } from "/api.js";
import { announce, element, notice, refusal, replace, uniqueId } from "/dom.js";
import { button, checkbox, field, form, select, submit } from "/forms.js";

/* Shows title, content and a form; send(values) does the work, and its refusal is shown in the
 * dialog, which stays open. Resolves to true when it was done, to false when it was cancelled. */
export function ask({ title, content = [], fields = [], action, kind = "main", send }) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const id = uniqueId("dialog");
    let done = false;
    const body = form(title, fields, [
      button("Cancel", () => dialog.close()), submit(action, kind),
    ], async (found) => {
      await send(found);
      done = true;
      dialog.close();
    });
    const dialog = element("dialog", {
      "aria-labelledby": id,
      onclose: () => {
        dialog.remove();
        if (before && before.isConnected) before.focus();
        resolve(done);
      },
    }, element("h2", { id }, title), content, body);
    document.body.append(dialog);
    dialog.showModal();
  });
}

/* Before what nothing brings back: it is done only when the name was typed. */
export function askByName({ name, label = "its name", fields = [], send, ...rest }) {
  const wanted = name.replace(/[\u0000-\u001f\u007f]/g, ""); /* which cannot be typed */
  return ask({
    kind: "danger", ...rest,
    fields: [...fields, field({ label: `Type ${wanted} to confirm`, name: "confirmed", required: wanted !== "" })],
    send: ({ confirmed = "", ...found }) => {
      if (confirmed !== wanted) throw new Error(`That is not ${label}; nothing was done.`);
      return send(found);
    },
  });
}

/* ---------------------------------------------------------------- what several of them ask */

export function filesystemName(label, value = "") {
  return field({ label, name: "name", required: true, maxlength: 32, pattern: "[A-Za-z0-9._][A-Za-z0-9._\\-]*", value });
}

export const ownKey = () => field({ label: "Key in the key server", name: "kms_key", hint: "One of its own; without it the configured one wraps it" });
export const noKms = () => checkbox("Allow no key server", "allow_no_kms", "Without one, a key in a file of this host wraps it: for trials");

export const storeNames = async () => (await get("/object-stores")).map((store) => store.name);
export const storeChoice = (names) => select("Object store", "object_store", names, names[0]);
export const allStores = () => element("a", { href: "#/stores" }, "Object stores");

/* ---------------------------------------------------------------- what is said when it is done */

export const good = (...text) => notice("good", element("p", {}, ...text));
export const warn = (...text) => notice("warn", element("p", {}, ...text));

/* More than a sentence. */
export function report(title, ...children) {
  const id = uniqueId("report");
  return element("section", { class: "report", "aria-labelledby": id }, element("h2", { id }, title), ...children);
}

/* answer is the place where it is said. act(work) does the work, which resolves to what is then said, or
 * to null if it was cancelled, and has the list read anew; or it says why not. */
export function answering(reload) {
  const answer = element("div", {});
  const act = async (work) => {
    replace(answer);
    try {
      const said = await work();
      if (!said) return;
      replace(answer, said);
      announce((said.querySelector("h2") || said).textContent);
      await reload();
    } catch (error) {
      replace(answer, refusal(error));
    }
  };
  return { answer, act };
}
