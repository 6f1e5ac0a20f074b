// Live preview of the notification, and the fields that the chosen audience needs.
const form = document.getElementById("compose");

function show() {
  for (const element of document.querySelectorAll("[data-preview]")) {
    const field = document.getElementById(element.dataset.preview);
    element.textContent = field.value || field.labels?.[0]?.textContent.trim() || "";
  }
  const audience = form.elements.audience.value;
  for (const part of form.querySelectorAll("[data-only-for]"))
    part.hidden = part.dataset.onlyFor !== audience;
}

form.addEventListener("input", show);
form.addEventListener("change", show);
show();
