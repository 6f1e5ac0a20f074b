// A wallet of August on the server that an account has moved to: it rebuilds its store there, knows
// the subscription that was made on the other server, and shares what happens from now on with the
// browser devices (played by the test).
import { AugustWallet } from "../lib/august-wallet.mjs";
import { dapp, notify } from "../lib/dapp.mjs";
import { makeEthereumKey } from "../lib/parts.mjs";
import { check, did, scenario, told, until } from "../lib/report.mjs";

const { MOVED_TOPIC: moved, MOVED_URL: url, PRIVATE_KEY: privateKey } = process.env;

scenario(async () => {
  const key = makeEthereumKey(privateKey);
  const wallet = await AugustWallet.start(key, { rebuild: true });
  await until("the subscription that has moved", () => wallet.has(moved));
  check(wallet.enabledTypes(moved).join() === "alerts,news", "with its types");
  check(wallet.subscription(moved).metadata.url === url, "with its address");
  check(wallet.core.crypto.keychain.has(moved), "with its key");
  did("a wallet rebuilt the store on the new server");

  const topic = await wallet.subscribe(dapp.metadata);
  const { sent } = await notify([key.account], { type: "alerts", title: "On the new server" });
  check(sent.includes(key.account), "not sent");
  await until("the notification", () => wallet.got("On the new server"));
  did("it subscribed there", { topic });

  await told("a browser ended the moved one");
  await until("the end", () => !wallet.has(moved));
  check(wallet.has(topic), "the other stays");
  did("the end reached it");
});
