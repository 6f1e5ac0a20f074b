// A core of the version named on the command line, on our relay, through everything a core does:
// connect, authenticate, subscribe, publish, receive, acknowledge, fetch, batch, unsubscribe.
// Seed: what steps 5, 7, 13, 14, 17 and 20 stand on.
import crypto from "node:crypto";
import { makeCore } from "../lib/parts.mjs";
import { check, did, scenario, until } from "../lib/report.mjs";

const version = process.argv[2];
const newTopic = () => crypto.randomBytes(32).toString("hex");
const sha256 = (text) => crypto.createHash("sha256").update(text).digest("hex");

async function startCore() {
  const core = makeCore(version);
  await core.start();
  core.received = [];
  core.relayer.on("relayer_message", (event) => core.received.push(event));
  return core;
}

const on = (core, topic) => core.received.filter((event) => event.topic === topic);
const request = (core, method, params) => core.relayer.provider.request({ method, params });

scenario(async () => {
  const [a, b] = [await startCore(), await startCore()];

  const live = newTopic();
  await a.relayer.subscribe(live);
  await b.relayer.subscribe(live);
  await b.relayer.publish(live, "from b", { ttl: 300, tag: 4002 });
  await until("a live message", () => on(a, live).length);
  check(on(a, live)[0].message === "from b", "the message changed on its way");
  check(on(a, live)[0].publishedAt > 1e12, "publishedAt is in milliseconds");
  check(on(b, live).length === 0, "a publisher must not hear itself");
  did("live delivery, no echo", { steps: [5, 14] });

  const mailbox = newTopic();
  const texts = Array.from({ length: 20 }, (_, n) => `kept ${n}`);
  for (const text of texts) await b.relayer.publish(mailbox, text, { ttl: 300, tag: 5000 });
  await a.relayer.subscribe(mailbox);
  await until("the mailbox", () => on(a, mailbox).length >= texts.length);
  check(
    JSON.stringify(on(a, mailbox).map((event) => event.message)) === JSON.stringify(texts),
    "the mailbox is delivered once, in publish order",
  );
  did("mailbox in publish order", { steps: [7, 20] });

  await a.relayer.unsubscribe(mailbox);
  await b.relayer.publish(mailbox, "after unsubscribe", { ttl: 300, tag: 5000 });
  const before = on(a, mailbox).length;
  await a.relayer.subscribe(mailbox);
  await until("only what is new", () => on(a, mailbox).length > before);
  await b.relayer.publish(mailbox, "last", { ttl: 300, tag: 5000 });
  await until("the last one", () => on(a, mailbox).some((event) => event.message === "last"));
  check(on(a, mailbox).length === before + 2, "acknowledged messages are not sent again");
  did("acknowledged messages stay acknowledged", { steps: [14] });

  const repeated = newTopic();
  await a.relayer.subscribe(repeated);
  await request(b, "irn_publish", { topic: repeated, message: "same", ttl: 300, tag: 4002 });
  check(
    await request(b, "irn_publish", { topic: repeated, message: "same", ttl: 300, tag: 4002 }),
    "the same text published again is true",
  );
  await request(b, "irn_publish", { topic: repeated, message: "end", ttl: 300, tag: 4002 });
  await until("the end", () => on(a, repeated).some((event) => event.message === "end"));
  check(on(a, repeated).length === 2, "the same text is delivered once");
  did("a repeated publish is one message", { steps: [5] });

  const fetched = newTopic();
  for (const message of ["one", "two"])
    await request(b, "irn_publish", { topic: fetched, message, ttl: 300, tag: 4050 });
  const { messages, hasMore } = await request(a, "irn_fetchMessages", { topic: fetched });
  check(hasMore === false && messages.map((m) => m.message).join() === "one,two", "fetch");
  check(messages.every((m) => m.tag === 4050 && m.topic === fetched), "fetched tags");
  const again = await request(a, "irn_batchFetchMessages", { topics: [fetched] });
  check(again.messages.length === 0, "a fetch acknowledges");
  did("fetch and batch fetch", { steps: [14] });

  const clientId = await a.crypto.getClientId();
  const topics = Array.from({ length: 500 }, newTopic);
  const ids = await request(a, "irn_batchSubscribe", { topics });
  check(
    ids.every((id, n) => id === sha256(topics[n] + clientId)),
    "a subscription id is sha256(topic + client id), in the order of the topics",
  );
  const subscriptions = topics.map((topic, n) => ({ topic, id: ids[n] }));
  check(await request(a, "irn_batchUnsubscribe", { subscriptions }), "batch unsubscribe");
  did("500 topics in one batch", { steps: [17, 20] });

  for (const [method, params, code] of [
    ["irn_nonsense", {}, -32601],
    ["wc_proposeSession", {}, -32600],
    ["irn_publish", { topic: live, message: "x", ttl: 2592001, tag: 1 }, -32000],
    ["irn_publish", { topic: "short", message: "x", ttl: 300, tag: 1 }, -32600],
    ["irn_batchSubscribe", { topics: Array.from({ length: 501 }, newTopic) }, -32600],
  ]) {
    const error = await request(a, method, params).then(
      () => undefined,
      (reason) => reason,
    );
    check(error, `${method} has to be refused`);
    check(error.code === undefined || error.code === code, `${method}: code ${error.code}`);
  }
  await request(b, "irn_publish", { topic: live, message: "longest", ttl: 2592000, tag: 4002 });
  await until("life after errors", () => on(a, live).some((e) => e.message === "longest"));
  did("refusals are answers, the connection lives on");
});
