// Copy buttons: data-copy names the element whose text is copied.
import { showStatus } from "./status.js";

export function listenForCopies() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    const text = source ? (source.value ?? source.textContent).trim() : button.dataset.copyText;
    try {
      await navigator.clipboard.writeText(text);
      showStatus(gettext("Copied."));
    } catch {
      if (source) getSelection().selectAllChildren(source);
      showStatus(gettext("Copying is not allowed here; the text is selected."));
    }
  });
}
