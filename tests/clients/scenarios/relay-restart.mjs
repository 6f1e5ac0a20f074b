// The relay dies under two cores and comes back: they reconnect, re-subscribe by themselves, and get
// what was published meanwhile. The test kills the relay between "before" and "again".
import crypto from "node:crypto";
import { makeCore } from "../lib/parts.mjs";
import { check, did, scenario, told, until } from "../lib/report.mjs";

const version = process.argv[2];
const topic = crypto.randomBytes(32).toString("hex");

scenario(async () => {
  const [a, b] = [makeCore(version), makeCore(version)];
  await Promise.all([a.start(), b.start()]);
  const heard = [];
  a.relayer.on("relayer_message", (event) => heard.push(event.message));
  await a.relayer.subscribe(topic);
  await b.relayer.publish(topic, "before", { ttl: 300, tag: 4002 });
  await until("the message before", () => heard.includes("before"));
  did("ready for the restart");
  await told("restarted");
  // The publisher is left alone: a core 2.25 without topics reconnects only when it has to say something.
  await until("the subscriber reconnected", () => a.relayer.connected, 60);
  await b.relayer.publish(topic, "after", { ttl: 300, tag: 4002 });
  await until("the message after", () => heard.includes("after"), 60);
  check(heard.join() === "before,after", `heard ${heard}`);
  did("reconnected, re-subscribed, nothing lost, nothing doubled");
});
