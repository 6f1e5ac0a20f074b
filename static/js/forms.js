// Forms: say when a change waits, keep half-made choices when the page around them changes,
// count characters, undo, and submit a filter as soon as it is chosen.
import { say } from "./status.js";

export function listenForForms() {
  document.addEventListener("input", (event) => {
    countCharacters(event.target);
    const form = event.target.closest("form[data-keep]");
    // The morph leaves what a person is changing alone.
    form?.setAttribute("hx-morph-skip", "");
    form?.setAttribute("data-dirty", "");
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    form.removeAttribute("hx-morph-skip");
    for (const field of form.querySelectorAll("[data-drop-empty]")) {
      if (!field.value) field.disabled = true;
    }
  });
  document.addEventListener("htmx:after:swap", () => {
    for (const form of document.querySelectorAll("form[data-dirty]:not([hx-morph-skip])"))
      form.removeAttribute("data-dirty");
  });
  document.addEventListener("htmx:error", () =>
    say("That did not work: the server did not answer. Nothing was changed."),
  );
  document.addEventListener("htmx:response:error", () =>
    say("That did not work. Nothing was changed; reload the page to see why."),
  );
  // The server names what it did, and the form that undoes it.
  document.body.addEventListener("done", (event) => {
    const { words, undo } = event.detail ?? {};
    if (!words) return;
    const form = undo && document.getElementById(undo);
    say(words, form ? { label: "Undo", run: () => form.requestSubmit() } : null);
  });
}

function countCharacters(field) {
  const counter = field.id && document.querySelector(`[data-counts="${CSS.escape(field.id)}"]`);
  if (!counter) return;
  const most = Number(counter.dataset.most);
  counter.textContent = `${field.value.length}/${most}`;
  counter.toggleAttribute("data-over", field.value.length > most);
}
