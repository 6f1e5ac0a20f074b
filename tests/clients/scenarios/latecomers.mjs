// One account on two generations, whose clients come one after the other: whoever comes finds what was
// there before. First 1.4.1 alone, then a browser device of ours (played by the test) with Sync, then a
// wallet of August, then a second 1.4.1.
import { AugustWallet } from "../lib/august-wallet.mjs";
import { dapp, notify, otherDapp } from "../lib/dapp.mjs";
import { LaterClient } from "../lib/later-client.mjs";
import { makeEthereumKey } from "../lib/parts.mjs";
import { check, did, scenario, told, until } from "../lib/report.mjs";

scenario(async () => {
  const key = makeEthereumKey(process.env.PRIVATE_KEY);
  const send = async (from, title) => {
    const { sent, failed } = await notify([key.account], { type: "alerts", title }, from);
    check(sent.includes(key.account), `not sent: ${JSON.stringify(failed)}`);
  };

  const got = (client, ...titles) =>
    until(`${client.name}: ${titles}`, () => titles.every((title) => client.got(title)));

  const later = await LaterClient.start(key);
  const first = await later.subscribe(dapp.domain);
  for (const title of ["one", "two", "three"]) await send(dapp, title);
  await got(later, "one", "two", "three");
  const { notifications } = await later.client.getNotificationHistory({ topic: first });
  const two = notifications.find((notification) => notification.title === "two");
  await later.client.markNotificationsAsRead({ topic: first, notificationIds: [two.id] });
  did("1.4.1 is alone", { topic: first });

  await told("browser has it");
  const august = await AugustWallet.start(key);
  await until("what the browser has shared", () => august.has(first));
  check(august.enabledTypes(first).join() === "alerts,news", "with its types");
  check(august.subscription(first).metadata.url === dapp.url, "with its address");
  await send(dapp, "four");
  // The older ones are in the mailbox of the relay.
  await got(august, "one", "two", "three", "four");
  await got(later, "four");
  did("an August wallet came");

  const second = await august.subscribe(otherDapp.metadata);
  await send(otherDapp, "five");
  await send(otherDapp, "six");
  await got(august, "five", "six");
  const another = await LaterClient.start(key);
  await until("both subscriptions", () => another.has(first) && another.has(second));
  const page = await another.client.getNotificationHistory({ topic: second });
  check(page.notifications.map((n) => n.title).join() === "six,five", "of August's, in pages");
  await got(another, "four", "five", "six");
  did("another 1.4.1 came");
});
