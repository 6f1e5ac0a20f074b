// Two wallets of the August generation and a browser device of ours (played by the test) share one
// account: each of them subscribes, receives, changes the scope and leaves, the others follow.
// Seed: steps 1 to 20, with the server-side device as W1 and as Wx.
import { AugustWallet } from "../lib/august-wallet.mjs";
import { dapp, notify, subscribers } from "../lib/dapp.mjs";
import { makeEthereumKey } from "../lib/parts.mjs";
import { check, did, scenario, told, until } from "../lib/report.mjs";

const ALL = ["alerts", "news"];

scenario(async () => {
  const key = makeEthereumKey(process.env.PRIVATE_KEY);
  const w1 = await AugustWallet.start(key, { name: "W1" });
  const w2 = await AugustWallet.start(key, { name: "W2" });
  const both = (what, probe) =>
    Promise.all([w1, w2].map((wallet) => until(`${wallet.name}: ${what}`, () => probe(wallet))));
  did("wallets are ready");

  await told("browser is ready");
  const topic = await w1.subscribe(dapp.metadata);
  await both("has the subscription", (wallet) => wallet.has(topic));
  did("a wallet subscribed", { topic, steps: [18, 19, 20] });

  await told("browser has it");
  const { sent } = await notify([key.account], { type: "alerts", title: "For all three" });
  check(sent.includes(key.account), "not sent");
  await both("received", (wallet) =>
    wallet.received.some((event) => event.params.message.title === "For all three"),
  );
  did("wallets received");

  await told("browser turned news off");
  await both("news is off", (wallet) => wallet.enabledTypes(topic).join() === "alerts");
  await w2.notify.update({ topic, scope: ALL });
  await both("news is on", (wallet) => wallet.enabledTypes(topic).join() === ALL.join());
  did("scope went both ways");

  await told("browser left");
  await both("is out", (wallet) => !wallet.has(topic));
  await until("the dapp knows", async () => !(await subscribers()).includes(key.account));
  did("deletion by the browser reached the wallets");

  await told("browser subscribed");
  const [second] = await until("W1 has the browser's", () => w1.store.keys.length && w1.store.keys);
  await both("has the browser's", (wallet) => wallet.has(second));
  await notify([key.account], { type: "news", title: "Second round" });
  await both("received", (wallet) =>
    wallet.received.some((event) => event.params.message.title === "Second round"),
  );
  did("a subscription of the browser reached the wallets", { topic: second });

  await w2.notify.deleteSubscription({ topic: second });
  await until("W1 is out", () => !w1.has(second));
  did("a wallet left");
});
