// Watches a wallet of the August generation take its steps of the twenty (1 to 7 and 14 to 18) and
// says each with its time, as far as others could see it. Nothing is changed: what a step is known by
// is an HTTP request, a call of the core's public key store, or a frame that the relay has confirmed.
import crypto from "node:crypto";
import diagnostics from "node:diagnostics_channel";

const sha256 = (bytes) => crypto.createHash("sha256").update(bytes).digest("hex");
const TAGS = { subscribe: 4000, subscribeResponse: 4001, syncSet: 5000 };

/** Calls `tell(step, wire, at)` for every step that `core` takes from now on, each once. */
export function watchSteps(core, tell) {
  const told = new Set();
  let publicKeyY;
  let generatedAt;
  let responseTopic;
  let notifyTopic;

  function took(step, wire = {}, at = Date.now()) {
    if (told.has(step)) return;
    told.add(step);
    tell(step, wire, at);
  }

  diagnostics.subscribe("http.client.response.finish", ({ request }) => {
    if (request.path.endsWith("/.well-known/did.json"))
      took(1, { get: `${request.protocol}//${request.getHeader("host")}${request.path}` });
  });

  after(core.crypto, "generateKeyPair", (key) => {
    [publicKeyY, generatedAt] = [key, Date.now()];
  });

  // First S, from Y and the dapp's X, and once more to seal the request; then P, from Y and the
  // Cast Server's Z.
  after(core.crypto, "generateSharedKey", (topic, [, peerKey]) => {
    if (responseTopic === undefined) {
      responseTopic = topic;
      took(2, { subscribeTopic: sha256(Buffer.from(peerKey, "hex")) }, generatedAt);
      took(3, { publicKeyY }, generatedAt);
      took(4);
      took(6, { responseTopic });
    } else if (topic !== responseTopic) {
      notifyTopic = topic;
      took(15);
      took(16, { notifyTopic });
    }
  });

  after(core.relayer.provider, "request", (_, [{ method, params }]) => {
    if (method === "irn_subscribe" && params.topic === responseTopic)
      took(7, { topic: responseTopic });
    if (method === "irn_subscribe" && params.topic === notifyTopic)
      took(17, { topic: notifyTopic });
    if (method === "irn_publish") {
      const { topic, tag, ttl, message } = params;
      const wire = { topic, tag, ttl, bytes: message.length, messageId: sha256(message) };
      if (tag === TAGS.subscribe) took(5, wire);
      if (tag === TAGS.syncSet) took(18, { ...wire, key: notifyTopic });
    }
  });

  core.relayer.on("relayer_message", ({ topic, message }) => {
    if (topic === responseTopic)
      took(14, { topic, tag: TAGS.subscribeResponse, messageId: sha256(message) });
  });

  return told;
}

/** Calls `see(result, arguments)` whenever a method of `object` has succeeded. */
function after(object, name, see) {
  const method = object[name];
  object[name] = async (...args) => {
    const result = await method.apply(object, args);
    see(result, args);
    return result;
  };
}
