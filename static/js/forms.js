// Forms: report errors, keep unsaved input when live updates change the page, count characters,
// offer undo, and submit filters when they change.
import { place } from "./place.js";
import { showStatus } from "./status.js";

export function listenForForms() {
  document.addEventListener("input", (event) => {
    countCharacters(event.target);
    const form = event.target.closest("form[data-keep]");
    // Exclude unsaved input from morphing by live updates.
    form?.setAttribute("hx-morph-skip", "");
    form?.setAttribute("data-dirty", "");
    limitChosen(event.target.closest("[data-max-chosen]"));
  });
  for (const group of document.querySelectorAll("[data-max-chosen]")) limitChosen(group);
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    form.removeAttribute("hx-morph-skip");
    event.submitter?.closest(":popover-open")?.hidePopover();
    // Until the answer is here, Undo would mean the action before.
    document.querySelector("#status button")?.remove();
    for (const field of form.querySelectorAll("[data-drop-empty]")) {
      if (!field.value) field.disabled = true;
    }
  });
  document.addEventListener("htmx:after:swap", () => {
    for (const form of document.querySelectorAll("form[data-dirty]:not([hx-morph-skip])"))
      form.removeAttribute("data-dirty");
    for (const group of document.querySelectorAll("[data-max-chosen]")) limitChosen(group);
  });
  document.addEventListener("htmx:error", () =>
    showStatus(gettext("That did not work: the server did not respond. Nothing was changed.")),
  );
  document.addEventListener("htmx:response:error", () =>
    showStatus(gettext("That did not work. Nothing was changed; reload the page to see why.")),
  );
  // The response to a form contains rows, inserted like those of live updates.
  document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
    if (ctx.response.status < 400 && ctx.text) place(ctx.text);
  });
  // Confirmation from the HX-Trigger header, with the action that undoes it.
  document.body.addEventListener("done", ({ detail: { text, undo } }) => {
    const form = document.getElementById("undo");
    const run = () => {
      // A long one was placed into the form.
      if (undo !== "form") form.elements.act.value = undo;
      form.requestSubmit();
    };
    if (text) showStatus(text, undo && form ? { label: gettext("Undo"), run } : null);
    for (const box of document.querySelectorAll("[name=chosen]:checked")) box.checked = false;
    countChosen();
  });
  document.addEventListener("change", ({ target }) => {
    if (target.name === "chosen") countChosen();
    if (!target.matches("[data-choose-all]")) return;
    for (const box of boxes().slice(0, MAX_CHOSEN)) box.checked = target.checked;
    countChosen();
  });
  document.addEventListener("click", chooseRange);
}

// The server takes no more at once.
const MAX_CHOSEN = 900;
const boxes = () => [...document.querySelectorAll("[name=chosen]")];
let lastChosen = null;

function chooseRange(event) {
  const box = event.target;
  if (box.name !== "chosen") return;
  const all = boxes();
  const [from, to] = [all.indexOf(lastChosen), all.indexOf(box)].sort((one, other) => one - other);
  if (event.shiftKey && from >= 0)
    for (const other of all.slice(from, to + 1)) other.checked = box.checked;
  lastChosen = box;
}

function countChosen() {
  const number = boxes().filter((box) => box.checked).length;
  const list = document.getElementById("messages");
  list?.classList.toggle("choosing", number > 0);
  const all = document.querySelector("[data-choose-all]");
  if (all) {
    all.checked = number > 0 && number === boxes().length;
    all.indeterminate = number > 0 && !all.checked;
  }
  const counter = document.querySelector("[data-chosen-number]");
  if (counter) counter.textContent = String(number);
}

function countCharacters(field) {
  const counter = field.id && document.querySelector(`[data-counts="${CSS.escape(field.id)}"]`);
  if (!counter) return;
  const max = Number(counter.dataset.max);
  counter.textContent = `${field.value.length}/${max}`;
  counter.toggleAttribute("data-over", field.value.length > max);
}

/** Limit the checked boxes of a group to data-max-chosen, as the server does. */
function limitChosen(group) {
  if (!group) return;
  const max = Number(group.dataset.maxChosen);
  const chosen = group.querySelectorAll("input[type=checkbox]:checked").length;
  for (const box of group.querySelectorAll("input[type=checkbox]:not(:checked)"))
    box.disabled = chosen >= max;
  const count = group.querySelector("[data-chosen-count]");
  if (count) 
    count.textContent =
      chosen >= max
        ? interpolate(gettext("All %s are chosen: switch one off to choose another."), [max])
        : interpolate(gettext("%s chosen."), [chosen]);
}
