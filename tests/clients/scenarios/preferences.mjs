// A wallet with the store of the specification, and the preferences store of notifyweb as another
// server of the account would open it. The wallet must not notice that store.
import { SyncClient, SyncStore } from "@walletconnect/sync-client";
import { makeCore, makeEthereumKey, projectId } from "../lib/parts.mjs";
import { check, did, scenario, told, until } from "../lib/report.mjs";

const SPECIFIED = "com.walletconnect.notify.notifySubscription";
const PREFERENCES = "com.notifyweb.preferences";

const content = (store) => JSON.stringify(Object.fromEntries(store.keys.map((key) => [key, store.get(key)])));

async function open(key, name, onUpdate) {
  const core = makeCore("2.10");
  await core.start();
  const client = await SyncClient.init({ core, projectId });
  const signature = await key.sign(await client.getMessage({ account: key.account }));
  await client.register({ account: key.account, signature });
  const store = new SyncStore(name, client, key.account, signature, onUpdate);
  await store.init();
  return [store, client.storeMap.keys];
}

scenario(async () => {
  const key = makeEthereumKey(process.env.PRIVATE_KEY);
  const updates = [];
  // A wallet as published, and another server: sync-client reports an update of any store to all
  // stores of one client, so each has a client of its own.
  const [specified, [topic]] = await open(key, SPECIFIED, (name) => updates.push(name));
  const [preferences, [otherTopic]] = await open(key, PREFERENCES);
  check(topic !== otherTopic, "two topics");

  await until("the subscription", () => specified.keys.length === 1);
  const before = content(specified);
  const seen = updates.length;
  did("the subscription is here");

  const dapp = process.env.DAPP_URL;
  await until("the mute", () => preferences.keys.includes(dapp) && preferences.get(dapp).mutes?.news);
  check(preferences.get(dapp).mutes.news.until === null, "muted until it is turned off");
  check(content(specified) === before && updates.length === seen, "the store of the specification changed");
  did("a mute arrives, and the store of the specification has exactly what it had");

  const mine = { until: null, at: Date.now(), by: "another wallet" };
  await preferences.set(dapp, { mutes: { "": mine }, colour: "blue" });
  await told("the browser has it");
  await until("the merged value", () => {
    const value = preferences.get(dapp);
    return value.mutes.news && value.mutes[""].by === "another wallet" && value.colour === "blue";
  });
  check(content(specified) === before && updates.length === seen, "the store of the specification changed");
  did("concurrent changes are merged");
});
