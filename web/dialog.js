/* Questions that must be answered before something is done. */
import { element, uniqueId } from "/dom.js";
import { button, field, form, submit } from "/forms.js";

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
