// Buttons that copy the text of the element they name.
import { say } from "./status.js";

export function listenForCopies() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    const text = source ? (source.value ?? source.textContent).trim() : button.dataset.copyText;
    try {
      await navigator.clipboard.writeText(text);
      say("Copied.");
    } catch {
      if (source) getSelection().selectAllChildren(source);
      say("Copying is not allowed here; the text is selected.");
    }
  });
}
