// Loads the content again every few seconds while the page has an element with data-poll: for
// numbers that no live update carries, such as receipts of a dapp's subscribers.
import { refetch } from "./place.js";

const wait = () => Number(document.querySelector("[data-poll]")?.dataset.poll || 0) * 1000;

async function poll() {
  if (!wait()) return;
  if (!document.hidden && navigator.onLine) await refetch().catch(() => null);
  if (wait()) setTimeout(poll, wait());
}

if (wait()) setTimeout(poll, wait());
