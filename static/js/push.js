// Turns Web Push on for this browser. The subscription goes to the server as a form.
const panel = document.getElementById("push");
const problem = document.getElementById("push-problem");

function fail(text) {
  problem.textContent = text;
  problem.hidden = false;
}

function bytes(base64url) {
  const text = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}

async function enable(form) {
  problem.hidden = true;
  if (!("serviceWorker" in navigator) || !("PushManager" in window))
    return fail(gettext("This browser has no Web Push. On iPhone, add this page to the home screen first."));
  if ((await Notification.requestPermission()) !== "granted")
    return fail(gettext("The browser does not allow notifications of this site. Change it in the site settings."));
  try {
    const registration = await navigator.serviceWorker.register("/sw.js");
    await navigator.serviceWorker.ready;
    // One that was made for another key of the server cannot be used any more.
    await (await registration.pushManager.getSubscription())?.unsubscribe();
    const subscription = await registration.pushManager.subscribe({
      userVisibleOnly: true,
      applicationServerKey: bytes(panel.dataset.key),
    });
    form.elements.subscription.value = JSON.stringify(subscription);
    form.submit();
  } catch (error) {
    fail(interpolate(gettext("The browser's push service did not answer: %s"), [error.message]));
  }
}

panel?.querySelector("[data-push-enable]")?.addEventListener("submit", (event) => {
  event.preventDefault();
  enable(event.currentTarget);
});
panel?.querySelector("[data-push-disable]")?.addEventListener("submit", async () => {
  const registration = await navigator.serviceWorker?.getRegistration("/");
  await (await registration?.pushManager.getSubscription())?.unsubscribe();
});
