// Two sync-client 0.3.8 wallets of one account share a store; a third that comes later gets the same.
// Seed: steps 18 and 19, without a dapp.
import { SyncClient, SyncStore } from "@walletconnect/sync-client";
import { makeCore, makeEthereumKey, projectId } from "../lib/parts.mjs";
import { check, did, scenario, until } from "../lib/report.mjs";

const STORE = "com.example.settings";

async function startWallet(key) {
  const core = makeCore("2.10");
  await core.start();
  const client = await SyncClient.init({ core, projectId });
  const signature = await key.sign(await client.getMessage({ account: key.account }));
  await client.register({ account: key.account, signature });
  const store = new SyncStore(STORE, client, key.account, signature);
  await store.init();
  return store;
}

const value = (store, key) => (store.keys.includes(key) ? store.get(key).value : undefined);

scenario(async () => {
  const key = makeEthereumKey();
  const [a, b] = [await startWallet(key), await startWallet(key)];

  await a.set("k1", { value: "from a" });
  await until("b has k1", () => value(b, "k1") === "from a");
  await b.set("k1", { value: "from b" });
  await until("a has b's k1", () => value(a, "k1") === "from b");
  did("set travels both ways", { steps: [18, 19] });

  await b.set("k2", { value: "gone soon" });
  await until("a has k2", () => value(a, "k2"));
  await a.delete("k2");
  await until("b lost k2", () => value(b, "k2") === undefined);
  did("delete travels", { steps: [18] });

  for (let n = 0; n < 25; n += 1) {
    await Promise.all([
      a.set("both", { value: `a${n}` }),
      b.set("both", { value: `b${n}` }),
    ]);
  }
  await a.set("both", { value: "settled" });
  await until("one value everywhere", () => value(b, "both") === "settled");
  did("concurrent writes end equal after the next write");

  const c = await startWallet(key);
  await until("the third has it all", () => value(c, "both") === "settled" && value(c, "k1"));
  check(value(c, "k2") === undefined, "a deleted key stays deleted");
  did("a new wallet gets the store from the mailbox", { steps: [19] });
});
