// The open form of a subscription's types: when another device changes them meanwhile, say so
// beside the form at once. The form itself is left as it is; saving it asks the server, which
// compares what the form was made from with what holds then.
const note = () => document.getElementById("scope-note");
const form = () => document.getElementById("scope");

const sorted = (names) => [...names].sort().join(" ");
const seen = () => sorted([...form().querySelectorAll("[name=seen]")].map((field) => field.value));
const present = () => sorted(note().dataset.now.split(" ").filter(Boolean));

function compare() {
  if (!note() || !form() || seen() === present()) return;
  const words = `Changed on ${note().dataset.by} while this form was open. Saving asks you which state you want.`;
  if (note().textContent === words) return;
  note().textContent = words;
  note().className = "hint warn";
}

document.addEventListener("htmx:after:swap", compare);
document.addEventListener("input", compare);
compare();
