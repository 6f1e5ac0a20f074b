// The page with the one-time code: counts down, and goes on once another device has confirmed it.
const place = document.getElementById("link");
const note = document.getElementById("link-note");
const ends = Date.now() + Number(place.dataset.seconds) * 1_000;

async function look() {
  const left = Math.max(0, Math.round((ends - Date.now()) / 1_000));
  try {
    const response = await fetch(place.dataset.state, { headers: { Accept: "application/json" } });
    const { state } = await response.json();
    if (state !== "open") return location.reload();
  } catch {
    // Offline for a moment: the next look follows.
  }
  // Every ten seconds: a screen reader reads each change.
  if (left % 10 < 2) note.textContent = interpolate(ngettext("Valid for %s more second.", "Valid for %s more seconds.", left), [left]);
  setTimeout(look, 2_000);
}
setTimeout(look, 2_000);
