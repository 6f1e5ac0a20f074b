// Shows what Web Push delivers. It has no cache and no fetch handler: pages always come from the
// server, so that none is ever stale.

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("push", (event) => event.waitUntil(receive(event.data?.json() ?? {})));
self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data.url));
});

async function receive(message) {
  const tag = `notification-${message.id ?? "test"}`;
  if (message.kind === "withdraw") {
    for (const shown of await self.registration.getNotifications({ tag })) shown.close();
  } else if (message.kind === "show") {
    await self.registration.showNotification(`${message.dapp}: ${message.title}`, {
      body: message.body,
      tag,
      silent: message.silent === true,
      // A path of ours: the worker loads pictures from nowhere else.
      icon: /^\/icons\/\w+$/.test(message.icon) ? message.icon : "/static/icons/any-192.png",
      data: { url: message.url },
    });
  }
  if (typeof message.unread === "number" && "setAppBadge" in self.navigator)
    await (message.unread ? self.navigator.setAppBadge(message.unread) : self.navigator.clearAppBadge());
}

/** Show the page in a window of ours that is open, or in a new one. */
async function open(path) {
  const url = new URL(path, self.location.origin);
  if (url.origin !== self.location.origin) return;
  const [window] = await self.clients.matchAll({ type: "window" });
  if (!window) {
    await self.clients.openWindow(url);
    return;
  }
  await window.navigate(url);
  await window.focus();
}
