// The one line that is read aloud. Arrivals that come close together become one sentence, at
// most one every five seconds; what a person just did is said at once.

const QUIET_MS = 5_000;
const SHOWN_MS = 8_000;

const waiting = new Map();
let spokeAt = 0;
let timer = 0;
let hiding = 0;

const region = () => document.getElementById("status");

/** Say `words` now; `undo` is `{label, run}`. */
export function say(words, undo = null) {
  const line = region();
  if (!line) return;
  const text = document.createElement("span");
  text.textContent = words;
  line.replaceChildren(text);
  if (undo) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = undo.label;
    button.addEventListener("click", () => {
      line.replaceChildren();
      undo.run();
    });
    line.append(button);
  }
  clearTimeout(hiding);
  hiding = setTimeout(() => line.replaceChildren(), SHOWN_MS);
}

/** Count one more of a kind, said together with others: `one` and `many` are its words. */
export function announce(kind, one, many, show = null) {
  const entry = waiting.get(kind) ?? { number: 0, one, many, show };
  entry.number += 1;
  entry.one = one;
  entry.show = show ?? entry.show;
  waiting.set(kind, entry);
  if (timer) return;
  timer = setTimeout(flush, Math.max(50, QUIET_MS - (Date.now() - spokeAt)));
}

function flush() {
  timer = 0;
  spokeAt = Date.now();
  const entries = [...waiting.values()];
  waiting.clear();
  const words = entries.map(({ number, one, many }) => (number === 1 ? one : `${number} ${many}`));
  say(words.join(" · "), entries.find((entry) => entry.show)?.show ?? null);
}
