// Live preview of the notification, and the fields that the chosen audience needs.
const form = document.getElementById("compose");
const VARIABLE = /\{\{\s*([a-z][a-z0-9_]{0,31})\s*\}\}/g;

function textOf(id) {
  const field = document.getElementById(id);
  if (!field) return "";
  const text = field.tagName === "SELECT" ? (field.selectedOptions[0]?.text ?? "") : field.value;
  return text.replace(VARIABLE, (all, name) => document.getElementById(`id_var_${name}`)?.value || all);
}

function show() {
  for (const element of document.querySelectorAll("[data-preview]")) {
    const { preview } = element.dataset;
    const label = document.getElementById(preview)?.labels?.[0]?.firstChild?.textContent.trim();
    element.textContent = textOf(preview) || label || "";
  }
  for (const element of document.querySelectorAll("[data-preview-host]"))
    element.textContent = URL.parse?.(textOf(element.dataset.previewHost))?.host ?? "";
  const audience = form.elements.audience?.value;
  for (const part of form.querySelectorAll("[data-only-for]"))
    part.hidden = part.dataset.onlyFor !== audience;
}

form.addEventListener("input", show);
form.addEventListener("change", show);
show();
