// A wallet that writes several keys into the notify store and deletes one; for rebuild.mjs.
import { HistoryClient } from "@walletconnect/history";
import { SyncClient, SyncStore } from "@walletconnect/sync-client";
import { makeCore, makeEthereumKey, projectId, servers } from "../lib/parts.mjs";
import { did, scenario, until } from "../lib/report.mjs";

scenario(async () => {
  const key = makeEthereumKey(process.env.PRIVATE_KEY);
  const core = makeCore("2.10");
  await core.start();
  const history = new HistoryClient(core, servers.history);
  await history.registerTags({ tags: ["5000", "5002"], relayUrl: servers.relay }, servers.history);
  const client = await SyncClient.init({ core, projectId, servers });
  const signature = await key.sign(await client.getMessage({ account: key.account }));
  await client.register({ account: key.account, signature });
  const store = new SyncStore("com.example.rebuilt", client, key.account, signature);
  await store.init();
  for (const name of ["one", "two", "three"]) await store.set(name, { value: name });
  await store.set("two", { value: "changed" });
  await store.delete("three");
  const topic = client.storeMap.keys[0];
  await until("the archive has it", async () => {
    const page = await history.getMessages({ topic }, servers.history);
    return page.messageResponse.messages.length === 5;
  });
  did("the store is filled", { topic });
});
