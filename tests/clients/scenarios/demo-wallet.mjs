// W1 of `manage.py demo --with-node`: a wallet of the August generation, made of the published packages,
// subscribes to the dapp that the demonstration names and waits for its notification.
import { AugustWallet } from "../lib/august-wallet.mjs";
import { dapp } from "../lib/dapp.mjs";
import { makeEthereumKey } from "../lib/parts.mjs";
import { did, scenario, told, until } from "../lib/report.mjs";
import { watchSteps } from "../lib/steps.mjs";

const STEPS_OF_W1 = 12;
const MINUTE = 60;

scenario(async () => {
  const key = makeEthereumKey(process.env.PRIVATE_KEY);
  const wallet = await AugustWallet.start(key, { name: "W1" });
  did("is ready", { at: Date.now() });

  await told("subscribe");
  const taken = watchSteps(wallet.core, (step, wire, at) => did("took a step", { step, wire, at }));
  const topic = await wallet.subscribe({ ...dapp.metadata, name: process.env.DAPP_NAME });
  await until("the last of its steps", () => taken.size === STEPS_OF_W1);
  did("subscribed", { topic, at: Date.now() });

  const message = await until("the notification", () => wallet.received[0]?.params.message, MINUTE);
  did("received", { title: message.title, at: Date.now() });
  await told("end");
});
