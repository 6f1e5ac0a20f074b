// Times in the reader's own zone, and "5 min ago" kept true. The server writes the same words
// in the zone that the cookie names, so nothing moves on the second page.

const DAY_S = 86_400;

export function tellZone() {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!zone || document.cookie.includes(`zone=${encodeURIComponent(zone)}`)) return;
  document.cookie = `zone=${encodeURIComponent(zone)}; path=/; max-age=31536000; samesite=lax`;
}

const two = (number) => String(number).padStart(2, "0");
const dateWords = (at, options) => new Intl.DateTimeFormat("en-GB", options).format(at);

function ago(at, now) {
  const seconds = (now - at) / 1000;
  if (seconds < -60) {
    if (seconds > -3600) return `in ${Math.floor(-seconds / 60)} min`;
    if (seconds > -DAY_S) return `in ${Math.floor(-seconds / 3600)} h`;
    return dateWords(at, { day: "numeric", month: "short", year: "numeric" });
  }
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < DAY_S) return `${Math.floor(seconds / 3600)} h ago`;
  const year = at.getFullYear() === now.getFullYear() ? {} : { year: "numeric" };
  return dateWords(at, { day: "numeric", month: "short", ...year });
}

export function dayWords(at, now = new Date()) {
  const yesterday = new Date(now);
  yesterday.setDate(now.getDate() - 1);
  if (at.toDateString() === now.toDateString()) return "Today";
  if (at.toDateString() === yesterday.toDateString()) return "Yesterday";
  if (at.getFullYear() === now.getFullYear())
    return dateWords(at, { weekday: "long", day: "numeric", month: "long" });
  return dateWords(at, { day: "numeric", month: "long", year: "numeric" });
}

export function dayOf(at) {
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

const FORMS = {
  ago,
  day: dayWords,
  time: (at) => `${two(at.getHours())}:${two(at.getMinutes())}`,
  clock: (at) => `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`,
  full: (at) =>
    `${dateWords(at, { day: "numeric", month: "short", year: "numeric" })}, ${FORMS.time(at)}`,
};

export function writeTimes(root) {
  const now = new Date();
  for (const element of root.querySelectorAll("time[data-when]")) {
    const at = new Date(element.dateTime);
    const words = FORMS[element.dataset.when]?.(at, now);
    if (words && words !== element.textContent) element.textContent = words;
    if (!element.dataset.local) {
      element.dataset.local = "yes";
      element.title = `${dateWords(at, { day: "numeric", month: "long", year: "numeric" })}, ${dateWords(at, { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" })}`;
    }
  }
}

/** Seconds that go by while something is waited for: data-elapsed-since is when that began. */
export function writeElapsed() {
  for (const element of document.querySelectorAll("[data-elapsed-since]")) {
    const seconds = Math.max(0, Math.floor((Date.now() - new Date(element.dataset.elapsedSince)) / 1000));
    // The server's clock may differ from this one: the number never goes back.
    if (seconds > Number(element.textContent)) element.textContent = String(seconds);
  }
}
