// The seed's twenty steps with two wallets of the August generation: W1 subscribes, Wx gets the
// subscription through Sync, both receive; scope update and deletion from either. The test plays the
// dapp's backend and hears of it (step 10).
import { AugustWallet } from "../lib/august-wallet.mjs";
import { dapp, notify, subscribers } from "../lib/dapp.mjs";
import { makeEthereumKey } from "../lib/parts.mjs";
import { check, did, scenario, until } from "../lib/report.mjs";

scenario(async () => {
  const key = makeEthereumKey();
  const w1 = await AugustWallet.start(key, { name: "W1" });
  const wx = await AugustWallet.start(key, { name: "Wx" });

  const topic = await w1.subscribe(dapp.metadata);
  did("W1 subscribed", {
    account: key.account,
    steps: [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17],
  });
  check((await subscribers()).includes(key.account), "the dapp lists the subscriber");

  await until("Wx has the subscription", () => wx.has(topic));
  check(wx.subscription(topic).symKey === w1.subscription(topic).symKey, "one key P for both");
  did("Wx stored it", { steps: [18, 19, 20] });

  const [type] = w1.enabledTypes(topic);
  const outcome = await notify([key.account], { type, title: "First" });
  check(outcome.sent.includes(key.account), `not sent: ${JSON.stringify(outcome)}`);
  for (const wallet of [w1, wx])
    await until(`${wallet.name} received`, () =>
      wallet.received.some((event) => event.params.message.title === "First"),
    );
  did("both received", { steps: [20] });

  await wx.notify.update({ topic, scope: [type] });
  await until("Wx knows its update", () => wx.updated.length);
  await until("W1 learnt the scope", () => w1.enabledTypes(topic).join() === type);
  did("a scope change by Wx reaches W1 through Sync");

  await w1.notify.update({ topic, scope: [] });
  await until("nothing is enabled", () => w1.updated.length);
  const refused = await notify([key.account], { type, title: "Muted" });
  check(refused.sent.length === 0 && refused.failed.length === 1, "a disabled type is not sent");
  did("a type that is off is not sent");

  await w1.notify.deleteSubscription({ topic });
  await until("Wx lost the subscription", () => !wx.has(topic));
  const gone = async () => !(await subscribers()).includes(key.account);
  await until("the dapp lost the subscriber", gone);
  did("deletion reaches Wx and the Cast Server");
});
