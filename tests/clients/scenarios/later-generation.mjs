// notify-client 1.4.1, unchanged, against our Cast Server: register, watch, subscribe, receive, page
// through the history, mark as read, update, delete; and a second client that only watches.
import { dapp, notify, subscribers } from "../lib/dapp.mjs";
import { LaterClient } from "../lib/later-client.mjs";
import { makeEthereumKey } from "../lib/parts.mjs";
import { check, did, scenario, until } from "../lib/report.mjs";

const type = process.env.DAPP_TYPE;

scenario(async () => {
  const key = makeEthereumKey();
  const { account } = key;
  const one = await LaterClient.start(key);
  const two = await LaterClient.start(key);
  check(!one.topics.length, "a new account has no subscription");
  did("two clients watch");

  const topic = await one.subscribe(dapp.domain);
  await until("the other client hears of it", () => two.has(topic));
  const [mine, others] = [one, two].map((client) => client.subscriptions[topic].symKey);
  check(mine === others, "one key for both");
  did("subscribe, and the watcher is told");

  await one.client.update({ topic, scope: [type] });
  for (const client of [one, two])
    await until("the types", () => client.enabledTypes(topic).join() === type);
  const titles = ["first", "second", "third"];
  for (const title of titles) {
    const { sent, failed } = await notify([account], { type, title });
    check(sent.includes(account), `not sent: ${JSON.stringify(failed)}`);
  }
  for (const client of [one, two])
    await until("all three", () => titles.every((title) => client.got(title)));
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
  await until("no unread anywhere", () =>
    [one, two].every((client) => client.unread(topic) === 0),
  );
  did("mark as read, everywhere");

  await two.client.deleteSubscription({ topic });
  await until("gone from both", () => !one.has(topic) && !two.has(topic));
  check(!(await subscribers()).includes(account), "the dapp still lists the account");
  did("delete by the second client reaches the first");
});
