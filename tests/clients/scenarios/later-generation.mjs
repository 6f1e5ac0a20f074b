// notify-client 1.4.1, unchanged, against our Cast Server: register, watch, subscribe, receive, page
// through the history, mark as read, update, delete; and a second client that only watches.
import { createRequire } from "node:module";
import { dapp, notify, subscribers } from "../lib/dapp.mjs";
import { makeCore, makeEthereumKey, projectId, servers } from "../lib/parts.mjs";
import { check, did, scenario, until } from "../lib/report.mjs";

const { NotifyClient } = createRequire(import.meta.url)("@walletconnect/notify-client");
const appDomain = process.env.DAPP_DOMAIN;
const type = process.env.DAPP_TYPE;
const walletDomain = "wallet.example.org";

async function startClient(key) {
  const client = await NotifyClient.init({
    core: makeCore("2.12"),
    projectId,
    keyserverUrl: servers.keys,
    logger: process.env.CLIENT_LOG ?? "silent",
  });
  client.notifyServerUrl = new URL(servers.cast).origin;
  const { account } = key;
  const request = { account, domain: walletDomain, allApps: true };
  const { message, registerParams } = await client.prepareRegistration(request);
  const received = [];
  client.on("notify_message", (event) => received.push(event.params.message));
  await client.register({ registerParams, signature: await key.sign(message) });
  await until("the first watch answer", () => client.hasFinishedInitialLoad());
  return { client, received };
}

const subscription = ({ client }, account) =>
  Object.values(client.getActiveSubscriptions({ account }))[0];

scenario(async () => {
  const key = makeEthereumKey();
  const { account } = key;
  const one = await startClient(key);
  const two = await startClient(key);
  check(!subscription(one, account), "a new account has no subscription");
  did("two clients watch");

  check(await one.client.subscribe({ account, appDomain }), "subscribe said no");
  const { topic, symKey } = await until("the subscription", () => subscription(one, account));
  await until("the other client hears of it", () => subscription(two, account));
  check(subscription(two, account).symKey === symKey, "one key for both");
  did("subscribe, and the watcher is told");

  await one.client.update({ topic, scope: [type] });
  const titles = ["first", "second", "third"];
  for (const title of titles) {
    const { sent, failed } = await notify([account], { type, title });
    check(sent.includes(account), `not sent: ${JSON.stringify(failed)}`);
  }
  for (const { received } of [one, two])
    await until("all three", () => titles.every((t) => received.some((m) => m.title === t)));
  did("update, then notifications reach both");

  const page = await one.client.getNotificationHistory({ topic, limit: 2 });
  check(page.notifications.map((n) => n.title).join() === "third,second", "newest first");
  check(page.hasMore && page.hasMoreUnread, "there is more");
  const last = page.notifications.at(-1).id;
  const rest = await one.client.getNotificationHistory({ topic, limit: 2, startingAfter: last });
  check(rest.notifications.map((n) => n.title).join() === "first", "the page after");
  check(!rest.hasMore, "that was all");
  did("history in pages");

  await one.client.markNotificationsAsRead({ topic, notificationIds: [last] });
  const unreadFirst = await one.client.getNotificationHistory({ topic, limit: 3 });
  check(unreadFirst.notifications.at(-1).id === last, "read ones come after unread ones");
  check(unreadFirst.notifications.at(-1).isRead === true, "marked as read");
  await one.client.markAllNotificationsAsRead({ topic });
  await until("no unread anywhere", () => {
    const [a, b] = [subscription(one, account), subscription(two, account)];
    return a.unreadNotificationCount === 0 && b.unreadNotificationCount === 0;
  });
  did("mark as read, everywhere");

  await two.client.deleteSubscription({ topic });
  await until("gone from both", () => !subscription(one, account) && !subscription(two, account));
  check(!(await subscribers()).includes(account), "the dapp still lists the account");
  did("delete by the second client reaches the first");
});
