/* Forms: labelled fields, sending with the button off meanwhile, and the refusal of the server below.
 * Secrets are taken out of their fields when the form is sent, whatever comes of it. */
import { announce, element, refusal, replace, uniqueId } from "/dom.js";

/* options: label, name, hint, type, value, required, secret, rows (of a text area), isFilter, and
 * attributes of the input. */
export function field(options) {
  const id = uniqueId(options.name);
  const hintId = options.hint ? `${id}-hint` : undefined;
  const common = {
    id, name: options.name, required: options.required, "aria-describedby": hintId,
    autocomplete: options.autocomplete || "off", spellcheck: "false", autocapitalize: "none",
    maxlength: options.maxlength, minlength: options.minlength, placeholder: options.placeholder,
    "data-secret": options.secret ? "yes" : undefined,
  };
  const input = options.rows
    ? element("textarea", { ...common, rows: options.rows, class: "pem" })
    : element("input", { ...common, type: options.type || "text", pattern: options.pattern, inputmode: options.inputmode });
  input.value = options.value || "";
  return element("div", { class: "field" },
    element("label", { for: id }, options.label, options.required || options.isFilter ? null : element("span", { class: "optional" }, " optional")),
    options.hint ? element("p", { class: "hint", id: hintId }, options.hint) : null,
    input,
    options.rows ? filePicker(input, options.label) : null);
}

/* Puts a file's text into the area beside it. */
function filePicker(area, label) {
  const picker = element("input", {
    type: "file", class: "visually-hidden", tabindex: "-1", accept: ".pem,.crt,.cer,.key",
    "aria-hidden": "true",
    onchange: async () => {
      const [file] = picker.files;
      if (file && file.size <= 65536) area.value = await file.text();
      else if (file) announce("The file is too large for PEM text");
      picker.value = "";
    },
  });
  return element("div", { class: "file" },
    element("button", { type: "button", class: "quiet", onclick: () => picker.click(), "aria-label": `Read the ${label} from a file` }, "From a file…"), picker);
}

export function choice(legend, name, options, value, onchange) {
  return element("fieldset", { class: "choice" }, element("legend", {}, legend),
    options.map(([option, label]) => {
      const id = uniqueId(name);
      const input = element("input", { type: "radio", id, name, value: option, checked: option === value, onchange: () => onchange && onchange(option) });
      return element("div", {}, input, element("label", { for: id }, label));
    }));
}

/* options: texts, or [value, text]. */
export function select(label, name, options, value) {
  const id = uniqueId(name);
  const input = element("select", { id, name }, options.map((option) => [option].flat()).map(([option, text = option]) =>
    element("option", { value: option, selected: option === value }, text)));
  return element("div", { class: "field" }, element("label", { for: id }, label), input);
}

export function checkbox(label, name, hint, checked = false) {
  const id = uniqueId(name);
  return element("div", { class: "check" }, element("input", { type: "checkbox", id, name, checked, "aria-describedby": hint ? `${id}-hint` : undefined }),
    element("label", { for: id }, label), hint ? element("p", { class: "hint", id: `${id}-hint` }, hint) : null);
}

/* What is filled in, without what is empty: {name: text or true}. */
export function values(form) {
  const found = {};
  for (const input of form.elements) {
    if (!input.name || input.disabled || input.closest("[hidden]")) continue;
    if (input.type === "checkbox") {
      if (input.checked) found[input.name] = true;
    } else if (input.type === "radio") {
      if (input.checked) found[input.name] = input.value;
    } else if (input.value !== "") found[input.name] = input.value;
  }
  return found;
}

/* Hidden fields are off, so that they are neither needed nor sent. */
export function only(group, is) {
  group.hidden = !is;
  for (const input of group.querySelectorAll("input, textarea, select")) input.disabled = !is;
}

function forgetSecrets(form) {
  for (const input of form.elements) if (input.dataset.secret) input.value = "";
}

/* send(values) does the work; what it throws is shown in the form, which stays. */
export function form(label, fields, actions, send) {
  const answer = element("div", { class: "answer" });
  const made = element("form", {
    "aria-label": label,
    onsubmit: async (event) => {
      event.preventDefault();
      const found = values(made);
      const buttons = [...made.querySelectorAll("button")];
      replace(answer, element("p", { class: "working", role: "status" }, "Working…"));
      for (const button of buttons) button.disabled = true;
      try {
        await send(found);
        replace(answer);
      } catch (error) {
        replace(answer, refusal(error));
      } finally {
        forgetSecrets(made);
        for (const button of buttons) button.disabled = false;
      }
    },
  }, fields, answer, element("div", { class: "actions" }, actions));
  return made;
}

export function submit(label, kind = "main") {
  return element("button", { type: "submit", class: kind }, label);
}

export function button(label, onclick, kind = "") {
  return element("button", { type: "button", class: kind, onclick }, label);
}

/* One of those that each row of a list has; of, which row, is only in the name that is read aloud. */
export function small(label, of, onclick, kind = "") {
  return element("button", { type: "button", class: `small ${kind}`, "aria-label": `${label} ${of}`, onclick }, label);
}
