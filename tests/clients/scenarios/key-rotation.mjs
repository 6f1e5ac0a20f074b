// A dapp replaces its keys. Wallets of both generations that subscribed before go on receiving,
// updating and leaving; others subscribe after it with the new did.json.
import { AugustWallet } from "../lib/august-wallet.mjs";
import { dapp, notify, subscribers } from "../lib/dapp.mjs";
import { LaterClient } from "../lib/later-client.mjs";
import { makeEthereumKey } from "../lib/parts.mjs";
import { check, did, scenario, told, until } from "../lib/report.mjs";

const start = async (kind, name) => {
  const key = makeEthereumKey();
  const wallet = await kind.start(key, { name });
  const where = kind === AugustWallet ? dapp.metadata : dapp.domain;
  const topic = await wallet.subscribe(where);
  await until(`${name} has it`, () => wallet.has(topic));
  return { account: key.account, name, topic, wallet };
};

const send = async (wallets, title) => {
  const accounts = wallets.map((each) => each.account);
  const { sent, failed } = await notify(accounts, { type: "alerts", title });
  check(accounts.every((each) => sent.includes(each)), `not sent: ${JSON.stringify(failed)}`);
  for (const each of wallets)
    await until(`${each.name} received ${title}`, () => each.wallet.got(title));
};

scenario(async () => {
  const august = await start(AugustWallet, "August before");
  const later = await start(LaterClient, "1.4.1 before");
  await send([august, later], "Before");
  did("subscribed with the old keys");

  await told("keys were replaced");
  await send([august, later], "After");
  did("both receive what the new key signs");

  const newer = [
    await start(AugustWallet, "August after"),
    await start(LaterClient, "1.4.1 after"),
  ];
  await send([august, later, ...newer], "To all");
  did("subscribed with the new keys");

  await august.wallet.notify.update({ topic: august.topic, scope: ["alerts"] });
  await later.wallet.client.update({ topic: later.topic, scope: ["alerts"] });
  for (const each of [august, later])
    await until(`${each.name} updated`, () => each.wallet.enabledTypes(each.topic).join() === "alerts");
  await august.wallet.notify.deleteSubscription({ topic: august.topic });
  await later.wallet.client.deleteSubscription({ topic: later.topic });
  await until("only the newer are left", async () => {
    const accounts = await subscribers();
    return ![august.account, later.account].some((each) => accounts.includes(each));
  });
  did("both update and leave");
});
