// Copies the unread count from the navigation badge to the title of the browser tab.

export function updateTitle() {
  const badge = document.getElementById("unread-count");
  if (!badge) return;
  const count = badge.textContent.trim();
  const plain = document.title.replace(/^\(\d+\+?\) /, "");
  const title = count ? `(${count}) ${plain}` : plain;
  if (document.title !== title) document.title = title;
}
