// The cases of notify-client 1.4's own tests, as far as the other scenarios of the later generation do
// not run them: what its authors expect of the servers, in our words.
import { dapp, notify, otherDapp } from "../lib/dapp.mjs";
import { axios, LaterClient, WALLET_DOMAIN } from "../lib/later-client.mjs";
import { makeEthereumKey } from "../lib/parts.mjs";
import { check, did, scenario, until } from "../lib/report.mjs";

const type = process.env.DAPP_TYPE;

scenario(async () => {
  const requested = [];
  axios.interceptors.request.use((config) => {
    requested.push(config.url);
    return config;
  });
  const key = makeEthereumKey();
  const { account } = key;
  const wallet = await LaterClient.start(key);
  const { client } = wallet;
  const seen = (event) => {
    const events = [];
    client.on(event, (each) => events.push(each));
    return events;
  };
  const [answered, updated] = ["notify_subscription", "notify_update"].map(seen);

  const topic = await wallet.subscribe(dapp.domain);
  await until("the answer", () => answered.length > 0);
  const listed = answered[0].params.allSubscriptions;
  check(listed.map((each) => each.topic).join() === topic, "the list has the subscription");
  check(client.messages.keys.join() === topic, "room for its messages");
  check(wallet.enabledTypes(topic).length === 2, "every type is on");
  did("a subscribe is answered and listed");

  await client.update({ topic, scope: [type] });
  await until("the answer", () => updated.length > 0);
  check(updated[0].topic === topic, "of this subscription");
  await until("the types", () => wallet.enabledTypes(topic).join() === type);
  // The lists are in the answers; only other clients are sent one.
  check(wallet.lists === 1, `${wallet.lists} lists beside the answers`);
  did("an update is answered and listed once");

  const arrived = [];
  client.core.relayer.on("relayer_message", (event) => {
    if (event.topic === topic) arrived.push(event.message);
  });
  const messages = () => Object.values(client.messages.get(topic).messages);
  const { sent } = await notify([account], { type, title: "Once" });
  check(sent.join() === account, "sent");
  await until("the notification", () => wallet.got("Once"));
  const [encryptedMessage] = arrived;
  const plain = await client.decryptMessage({ topic, encryptedMessage });
  check(plain.title === "Once" && plain.type === type, "decrypted");
  check(messages().length === 1, "kept");
  did("a notification arrives, is kept and can be decrypted");

  // Under another id of the request: what counts is the id of the notification.
  const request = await client.core.crypto.decode(topic, encryptedMessage);
  const message = await client.core.crypto.encode(topic, { ...request, id: Date.now() });
  client.core.relayer.events.emit("relayer_message", { topic, message, publishedAt: Date.now() });
  await notify([account], { type, title: "Twice" });
  await until("the second", () => wallet.got("Twice"));
  check(wallet.received.length === 2 && messages().length === 2, "the repeat is not a third");
  did("a repeated notification is one");

  const documents = requested.filter((url) => url === `${dapp.url}/.well-known/did.json`);
  check(documents.length === 1, `the document was read ${documents.length} times`);
  did("the dapp's document is read once");

  const { subscriber } = client.core.relayer;
  await subscriber.unsubscribe(topic);
  const second = await wallet.subscribe(otherDapp.domain);
  await until("the first topic again", () => subscriber.isSubscribed(topic));
  check(wallet.topics.length === 2, "two subscriptions");
  const later = await LaterClient.start(key, { domain: "another.wallet.example.org" });
  check(later.topics.toSorted().join() === wallet.topics.toSorted().join(), "the same two");
  did("several subscriptions, on every client and at the relay");

  await client.deleteSubscription({ topic: second });
  await until("gone", () => !wallet.has(second) && !later.has(second));
  check(client.messages.keys.join() === topic, "and its messages");
  did("a delete is answered and listed");

  const registered = { account, domain: WALLET_DOMAIN, allApps: true };
  const { statement, ...registration } = client.registrationData.get(account);
  await client.registrationData.set(account, { ...registration, statement: `not ${statement}` });
  check(!client.isRegistered(registered), "another statement than was signed");
  const refusal = await wallet.register().catch((error) => error);
  check(/stale identity/.test(refusal.message), `registered over a stale one: ${refusal}`);
  await client.unregister({ account });
  await wallet.register();
  check(client.isRegistered(registered), "registered anew");
  await until("its list", () => wallet.topics.join() === topic);
  did("a stale registration is replaced after unregistering");
});
