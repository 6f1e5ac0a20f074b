// The offline step of the two-window demo: this window stops receiving, then catches up. The server
// counts what it missed, from the number of the last change that it had.
import { cutOff, hasCaughtUp } from "./live.js";

const CHECK_MS = 100;

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-cut]");
  if (!button) return;
  const form = button.closest("form");
  const goesOffline = !form.elements.sequence.value;
  if (goesOffline) {
    form.elements.sequence.value = cutOff(true);
    button.textContent = button.dataset.back;
    form.querySelector("[data-cut-note]").hidden = false;
    return;
  }
  button.disabled = true;
  cutOff(false);
  const timer = setInterval(() => {
    if (!hasCaughtUp()) return;
    clearInterval(timer);
    form.submit();
  }, CHECK_MS);
});
