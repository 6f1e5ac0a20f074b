// notify-client 1.4.1, unchanged: clients that may manage one dapp only, who is sent which lists,
// a scope without types, and a client that unregisters.
import { encodeEd25519Key } from "@walletconnect/did-jwt";
import { dapp, notify, otherDapp } from "../lib/dapp.mjs";
import { LaterClient, WALLET_DOMAIN } from "../lib/later-client.mjs";
import { makeEthereumKey, servers } from "../lib/parts.mjs";
import { check, did, scenario, until } from "../lib/report.mjs";

const identityStatus = async (publicKey) =>
  (await fetch(`${servers.keys}/identity?publicKey=${publicKey.split(":").pop()}`)).status;

scenario(async () => {
  const key = makeEthereumKey();
  const all = await LaterClient.start(key);
  const first = await all.subscribe(dapp.domain);
  const second = await all.subscribe(otherDapp.domain);
  const limited = { domain: dapp.domain, allApps: false };
  const one = await LaterClient.start(key, limited);
  check(one.topics.join() === first, "a limited client sees its dapp only");
  const two = await LaterClient.start(key, limited);
  check(two.topics.join() === first, "and so does another one");
  const foreign = await LaterClient.start(key, { domain: "unrelated.example.org", allApps: false });
  check(foreign.lists === 1 && !foreign.topics.length, "a foreign domain has an empty list");
  did("limited clients see what they may manage");

  const lists = all.lists;
  await all.client.update({ topic: first, scope: [] });
  for (const client of [all, one, two])
    await until("no types", () => client.enabledTypes(first).join() === "");
  check(all.lists === lists, "the client that changed something has its answer only");
  check(foreign.lists === 1, "the foreign domain is sent nothing");
  check(all.has(second) && all.enabledTypes(second).length === 2, "the other dapp's types stay");
  const { sent, failed } = await notify([key.account], { type: process.env.DAPP_TYPE });
  check(!sent.length && failed.length === 1, `sent although switched off: ${sent}`);
  did("a scope without types");

  const identity = encodeEd25519Key(await all.register());
  const { account } = key;
  check(all.client.isRegistered({ account, domain: WALLET_DOMAIN, allApps: true }), "known");
  check((await identityStatus(identity)) === 200, "the Keys Server has it");
  await all.client.unregister({ account });
  check((await identityStatus(identity)) === 404, "the Keys Server has forgotten it");
  check(all.topics.length === 2, "the subscriptions stay");
  for (const topic of [first, second])
    check(!(await all.client.core.relayer.subscriber.isSubscribed(topic)), "no longer listening");
  const { sent: others } = await notify([key.account], { type: "alerts" }, otherDapp);
  check(others.length === 1, "the account is still subscribed");
  await LaterClient.start(key).then((again) => until("both", () => again.topics.length === 2));
  did("unregister, and register anew");
});
