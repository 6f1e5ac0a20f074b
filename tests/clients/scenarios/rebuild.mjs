// A new wallet rebuilds its store from the History Server alone: the relay it is connected to has
// nothing for it. Seed: steps 18 and 19 for a device that joins later.
import { HistoryClient } from "@walletconnect/history";
import { SyncClient, SyncStore } from "@walletconnect/sync-client";
import { makeCore, makeEthereumKey, projectId, servers } from "../lib/parts.mjs";
import { check, did, scenario, until } from "../lib/report.mjs";

scenario(async () => {
  const key = makeEthereumKey(process.env.PRIVATE_KEY);
  const core = makeCore("2.10");
  await core.start();
  const client = await SyncClient.init({ core, projectId });
  const signature = await key.sign(await client.getMessage({ account: key.account }));
  await client.register({ account: key.account, signature });
  const store = new SyncStore("com.example.rebuilt", client, key.account, signature);
  await store.init();
  check(store.length === 0, "the relay has nothing");

  const history = new HistoryClient(core, servers.history);
  await history.registerTags({ tags: ["5000", "5002"], relayUrl: servers.relay }, servers.history);
  const topic = client.storeMap.keys[0];
  const ask = { topic, direction: "forward", messageCount: 200 };
  const page = await history.getMessages(ask, servers.history);
  check(page.messageResponse.messages.length === 5, "five updates in the archive");
  await page.injectIntoRelayer();
  await until("the keys", () => store.keys.sort().join() === "one,two");
  check(store.get("two").value === "changed", "the newest value");
  did("rebuilt from History alone", { steps: [19] });
});
