// One account on two generations: notify-client 1.4.1, a wallet of August with Sync, and a browser
// device of ours (played by the test) that stands between them. Each subscribes, changes its types,
// reads and leaves; the others follow. A ledger counts what that takes on the relay.
import { AugustWallet } from "../lib/august-wallet.mjs";
import { dapp, notify, otherDapp, subscribers } from "../lib/dapp.mjs";
import { LaterClient } from "../lib/later-client.mjs";
import { makeEthereumKey } from "../lib/parts.mjs";
import { RelayLedger } from "../lib/relay-ledger.mjs";
import { check, did, scenario, told, until } from "../lib/report.mjs";

const QUIET_MS = 8000;
const BOTH_TYPES = "alerts,news";

scenario(async () => {
  const key = makeEthereumKey(process.env.PRIVATE_KEY);
  const august = await AugustWallet.start(key, { name: "August" });
  const later = await LaterClient.start(key);
  const ledger = await RelayLedger.start();
  const [store] = august.sync.storeMap.keys;
  await ledger.listen(store, august.core);
  did("wallets are ready");

  const both = (what, probe) =>
    Promise.all([august, later].map((w) => until(`${w.name}: ${what}`, () => probe(w))));
  const allow = (topic, types) => both(types, (w) => w.enabledTypes(topic).join() === types);
  const send = async (from, ...titles) => {
    for (const title of titles) {
      const { sent, failed } = await notify([key.account], { type: "alerts", title }, from);
      check(sent.includes(key.account), `not sent: ${JSON.stringify(failed)}`);
    }
    for (const title of titles) await both(`received ${title}`, (w) => w.got(title));
  };
  const gone = async (topic, from) => {
    await both("is out", (w) => !w.has(topic));
    await until("the dapp knows", async () => !(await subscribers(from)).includes(key.account));
  };

  await told("browser is ready");
  const first = await later.subscribe(dapp.domain);
  await both("has the later one's", (w) => w.has(first));
  await allow(first, BOTH_TYPES);
  await ledger.listen(first, later.client.core);
  did("1.4.1 subscribed", { topic: first });

  await told("browser has it");
  await send(dapp, "A1", "A2", "A3");
  did("its notifications reached both");

  const second = await august.subscribe(otherDapp.metadata);
  await both("has August's", (w) => w.has(second));
  await allow(second, BOTH_TYPES);
  await ledger.listen(second, august.core);
  did("the August wallet subscribed", { topic: second });
  await told("browser has it");
  await send(otherDapp, "B1", "B2", "B3");
  did("its notifications reached both");

  const [newest] = (await later.client.getNotificationHistory({ topic: first })).notifications;
  check(newest.title === "A3", "newest first");
  await later.client.markNotificationsAsRead({ topic: first, notificationIds: [newest.id] });
  did("1.4.1 read A3");
  await later.client.markAllNotificationsAsRead({ topic: second });
  did("1.4.1 read all of August's");
  await told("browser read A1");
  await until("it is read here", () => later.unread(first) === 1);
  const history = await later.client.getNotificationHistory({ topic: first });
  const unread = history.notifications.filter((n) => !n.isRead).map((n) => n.title);
  check(unread.join() === "A2", `unread: ${unread}`);
  did("what the browser read is read in 1.4.1");

  await later.client.update({ topic: second, scope: ["alerts"] });
  await allow(second, "alerts");
  await august.notify.update({ topic: first, scope: ["news"] });
  await allow(first, "news");
  did("each changed the other's types");
  await told("browser changed them back");
  await allow(first, BOTH_TYPES);
  await allow(second, BOTH_TYPES);
  await send(dapp, "A4", "A5");
  await send(otherDapp, "B4", "B5");
  did("notifications go on");
  await told("browser has them");

  await later.client.deleteSubscription({ topic: second });
  await gone(second, otherDapp);
  did("1.4.1 left the August wallet's");
  await august.notify.deleteSubscription({ topic: first });
  await gone(first, dapp);
  did("the August wallet left that of 1.4.1");

  await told("browser subscribed");
  const third = await until("the browser's", () => later.topics[0]);
  await both("has the browser's", (w) => w.has(third));
  await ledger.listen(third, later.client.core);
  await send(dapp, "C1", "C2");
  await told("browser left");
  await gone(third, dapp);
  did("the browser's came and went", { topic: third });

  let [seen, since] = ["", Date.now()];
  await until("the relay comes to rest", () => {
    const now = [ledger.lines.length, later.lists].join();
    if (now !== seen) [seen, since] = [now, Date.now()];
    return Date.now() - since > QUIET_MS;
  }, 40);
  const count = (topic) => ({
    sets: ledger.count(store, "wc_syncSet", topic),
    deletes: ledger.count(store, "wc_syncDel", topic),
    updates: ledger.count(topic, "wc_notifyUpdate"),
    farewells: ledger.count(topic, "wc_notifyDelete"),
    marks: ledger.count(topic, "wc_notifyMarkNotificationsAsRead"),
    pages: ledger.count(topic, "wc_notifyGetNotifications"),
    notifications: ledger.count(topic, "wc_notifyMessage"),
    answers: ledger.count(topic, "answer"),
  });
  did("everything is at rest", {
    counts: [first, second, third].map(count),
    store: ledger.lines.filter((line) => line.topic === store).length,
    lists: later.lists,
  });
});
