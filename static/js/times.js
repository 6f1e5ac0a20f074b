// Times in the browser's time zone, with "5 min ago" kept up to date. The server formats them the
// same way (dashboard/formatting.py) in the zone of the cookie, so that pages do not flicker.

const DAY_S = 86_400;

export function storeZone() {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!zone || document.cookie.includes(`zone=${encodeURIComponent(zone)}`)) return;
  document.cookie = `zone=${encodeURIComponent(zone)}; path=/; max-age=31536000; samesite=lax`;
}

const two = (number) => String(number).padStart(2, "0");
// English pages use British dates ("29 Nov 2026"), like the server.
const locale = document.documentElement.lang === "en" ? "en-GB" : document.documentElement.lang;
// Kept, because creating one takes longer than formatting hundreds of times.
const formats = new Map();

function formatDate(at, options) {
  const name = JSON.stringify(options);
  if (!formats.has(name)) formats.set(name, new Intl.DateTimeFormat(locale, options));
  return formats.get(name).format(at);
}

function ago(at, now) {
  const seconds = (now - at) / 1000;
  if (seconds < -60) {
    if (seconds > -3600) return interpolate(gettext("in %s min"), [Math.floor(-seconds / 60)]);
    if (seconds > -DAY_S) return interpolate(gettext("in %s h"), [Math.floor(-seconds / 3600)]);
    return formatDate(at, { day: "numeric", month: "short", year: "numeric" });
  }
  if (seconds < 60) return gettext("just now");
  if (seconds < 3600) return interpolate(gettext("%s min ago"), [Math.floor(seconds / 60)]);
  if (seconds < DAY_S) return interpolate(gettext("%s h ago"), [Math.floor(seconds / 3600)]);
  const year = at.getFullYear() === now.getFullYear() ? {} : { year: "numeric" };
  return formatDate(at, { day: "numeric", month: "short", ...year });
}

export function formatDay(at, now = new Date()) {
  const yesterday = new Date(now);
  yesterday.setDate(now.getDate() - 1);
  if (at.toDateString() === now.toDateString()) return gettext("Today");
  if (at.toDateString() === yesterday.toDateString()) return gettext("Yesterday");
  if (at.getFullYear() === now.getFullYear())
    return formatDate(at, { weekday: "long", day: "numeric", month: "long" });
  return formatDate(at, { day: "numeric", month: "long", year: "numeric" });
}

export function dayOf(at) {
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

const FORMS = {
  ago,
  day: formatDay,
  time: (at) => `${two(at.getHours())}:${two(at.getMinutes())}`,
  clock: (at) => `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`,
  full: (at) =>
    `${formatDate(at, { day: "numeric", month: "short", year: "numeric" })}, ${FORMS.time(at)}`,
};

export function writeTimes(root) {
  const now = new Date();
  for (const element of root.querySelectorAll("time[data-when]")) {
    const at = new Date(element.dateTime);
    const text = FORMS[element.dataset.when]?.(at, now);
    if (text && text !== element.textContent) element.textContent = text;
    if (!element.dataset.local) {
      element.dataset.local = "yes";
      element.title = `${formatDate(at, { day: "numeric", month: "long", year: "numeric" })}, ${formatDate(at, { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" })}`;
    }
  }
}

/** Seconds since the time in data-elapsed-since, for pages that wait for a result. */
export function writeElapsed() {
  for (const element of document.querySelectorAll("[data-elapsed-since]")) {
    const seconds = Math.max(0, Math.floor((Date.now() - new Date(element.dataset.elapsedSince)) / 1000));
    // The clocks of server and browser may differ: never count backwards.
    if (seconds > Number(element.textContent)) element.textContent = String(seconds);
  }
}
