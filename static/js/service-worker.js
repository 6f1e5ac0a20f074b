// Shows what Web Push delivers, and a page that explains why another one cannot be loaded. Pages
// always come from the server, so that none is ever stale: the explanation is all that is kept.

const OFFLINE_PAGE = "/offline";

self.addEventListener("install", (event) => {
  self.skipWaiting();
  // Push works without it.
  event.waitUntil(keepOfflinePage().catch(() => undefined));
});
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("fetch", (event) => {
  const { method, mode, destination } = event.request;
  if (method !== "GET") return;
  if (mode === "navigate") event.respondWith(load(event));
  else if (destination === "style") event.respondWith(fetch(event.request).catch(() => kept(event.request)));
});
self.addEventListener("push", (event) => event.waitUntil(receive(event.data?.json() ?? {})));
self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data.url));
});

async function activate() {
  // The browser asks the server while this worker starts.
  await self.registration.navigationPreload?.enable();
  await self.clients.claim();
}

async function keepOfflinePage() {
  const page = await fetch(OFFLINE_PAGE, { cache: "reload" });
  const styles = [...(await page.clone().text()).matchAll(/href="([^"]+\.css)"/g)].map(([, path]) => path);
  const cache = await caches.open("offline");
  for (const old of await cache.keys()) await cache.delete(old);
  await cache.addAll(styles);
  await cache.put(OFFLINE_PAGE, page);
}

const kept = async (request) => (await caches.match(request)) ?? Response.error();

async function load({ request, preloadResponse }) {
  try {
    return (await preloadResponse) ?? (await fetch(request));
  } catch {
    return kept(OFFLINE_PAGE);
  }
}

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
