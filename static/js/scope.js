// The form with a subscription's types: show a note when another device changes them while the
// form is open. The input stays as it is; on saving, the server compares the state that the form
// was rendered with to the current one.
const note = () => document.getElementById("scope-note");
const form = () => document.getElementById("scope");

const sorted = (names) => [...names].sort().join(" ");
const seen = () => sorted([...form().querySelectorAll("[name=seen]")].map((field) => field.value));
const present = () => sorted(note().dataset.now.split(" ").filter(Boolean));

function compare() {
  if (!note() || !form() || seen() === present()) return;
  const text = interpolate(
    gettext("Changed on %s while this form was open. Saving asks you which state you want."),
    [note().dataset.by],
  );
  if (note().textContent === text) return;
  note().textContent = text;
  note().className = "hint warn";
}

document.addEventListener("htmx:after:swap", compare);
document.addEventListener("input", compare);
compare();
