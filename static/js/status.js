// The live region for screen readers. Arrivals are combined into one announcement, at most one
// every five seconds; results of the user's own actions are shown at once.

const QUIET_MS = 5_000;
const SHOWN_MS = 8_000;

const waiting = new Map();
let announcedAt = 0;
let timer = 0;
let hiding = 0;

const region = () => document.getElementById("status");

/** Show `message` now; `action` is a button: `{label, run}`. */
export function showStatus(message, action = null) {
  const line = region();
  if (!line) return;
  const text = document.createElement("span");
  text.textContent = message;
  line.replaceChildren(text);
  if (action) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = action.label;
    button.addEventListener("click", () => {
      line.replaceChildren();
      action.run();
    });
    line.append(button);
  }
  clearTimeout(hiding);
  hiding = setTimeout(() => line.replaceChildren(), SHOWN_MS);
}

/** Announce an arrival in `list`: `single` if it stays the only one, otherwise their number. */
export function announce(list, single, show = null) {
  const entry = waiting.get(list) ?? { list, number: 0, single, show };
  entry.number += 1;
  entry.single = single;
  entry.show = show ?? entry.show;
  waiting.set(list, entry);
  if (timer) return;
  timer = setTimeout(flush, Math.max(50, QUIET_MS - (Date.now() - announcedAt)));
}

function flush() {
  timer = 0;
  announcedAt = Date.now();
  const entries = [...waiting.values()];
  waiting.clear();
  const texts = entries.map(({ list, number, single }) => {
    if (number === 1) return single;
    return list === "messages"
      ? interpolate(ngettext("%s new notification", "%s new notifications", number), [number])
      : interpolate(ngettext("%s new subscription", "%s new subscriptions", number), [number]);
  });
  showStatus(texts.join(" · "), entries.find((entry) => entry.show)?.show ?? null);
}
