// The unread number: the rail's badge is the source, the tab of the browser and the Unread tab
// of the inbox repeat it. It changes by live updates, answers to actions and a page loaded anew.

export function takeUnread() {
  const badge = document.getElementById("unread-count");
  if (!badge) return;
  const words = badge.textContent.trim();
  const plain = document.title.replace(/^\(\d+\+?\) /, "");
  const title = words ? `(${words}) ${plain}` : plain;
  if (document.title !== title) document.title = title;
}
