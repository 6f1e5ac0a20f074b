// The published Sign clients as a dapp and as a wallet, each behind the same few functions. Nothing of a
// package is changed: a dapp is a sign-client or the universal-provider, a wallet is a sign-client or the walletkit.
import fs from "node:fs";
import * as sign210 from "sign-client-2.10";
import * as sign217 from "sign-client-2.17";
import * as sign2211 from "sign-client-2.21.1";
import * as sign2218 from "sign-client-2.21.8";
import * as sign225 from "sign-client-2.25";
import * as provider from "@walletconnect/universal-provider";
import * as kit from "@reown/walletkit";
import { MemoryStorage, makeCore, projectId, servers } from "./parts.mjs";
import { until } from "./report.mjs";

const SIGN_CLIENTS = {
  "2.10": sign210,
  "2.17": sign217,
  "2.21.1": sign2211,
  "2.21.8": sign2218,
  "2.25": sign225,
};

/** Some packages are CommonJS behind an ES module, so a class may be one level deeper. */
const classOf = (module, name) => module[name] ?? module.default?.[name] ?? module.default;

export const ACCOUNT = "0x1234567890123456789012345678901234567890";
export const OTHER_ACCOUNT = "0xABcdEFABcdEFabcdEfAbCdefabcdeFABcDEFabCD";
export const PROPOSED = {
  eip155: { methods: ["personal_sign"], chains: ["eip155:1"], events: ["accountsChanged"] },
};
export const namespaces = (...addresses) => ({
  eip155: {
    accounts: addresses.map((address) => `eip155:1:${address}`),
    methods: ["personal_sign"],
    events: ["accountsChanged"],
  },
});

const options = (name, storage) => ({
  projectId,
  relayUrl: servers.relay,
  logger: process.env.CLIENT_LOG ?? "silent",
  storage,
  customStoragePrefix: name,
  telemetryEnabled: false,
  metadata: { name, description: name, url: `https://${name}.example`, icons: [] },
});

/** A dapp of `kind`: the version of a sign-client, or "universal". */
export async function makeDapp(kind, storage = new MemoryStorage()) {
  if (kind === "universal") {
    const universal = await classOf(provider, "UniversalProvider").init(options("dapp", storage));
    return {
      storage,
      client: universal.client,
      async connect() {
        const uri = new Promise((resolve) => universal.once("display_uri", resolve));
        const session = universal.connect({ optionalNamespaces: PROPOSED });
        session.catch(() => undefined);
        return { uri: await uri, approval: () => session };
      },
      request: (_topic, request) => universal.request(request, "eip155:1"),
      disconnect: () => universal.disconnect(),
    };
  }
  const client = await classOf(SIGN_CLIENTS[kind], "SignClient").init(options("dapp", storage));
  return {
    storage,
    client,
    connect: () => client.connect({ optionalNamespaces: PROPOSED }),
    request: (topic, request) => client.request({ topic, chainId: "eip155:1", request }),
    disconnect: (topic, reason) => client.disconnect({ topic, reason }),
  };
}

/** A wallet of `kind`: the version of a sign-client, or "walletkit". */
export async function makeWallet(kind, storage = new MemoryStorage()) {
  if (kind === "walletkit") {
    const { metadata, ...rest } = options("wallet", storage);
    const walletKit = await classOf(kit, "WalletKit").init({
      core: makeCore("2.25", rest),
      metadata,
    });
    return {
      storage,
      client: walletKit.engine.signClient,
      pair: (uri) => walletKit.pair({ uri }),
      approve: (id, approved) => walletKit.approveSession({ id, namespaces: approved }),
      reject: (id, reason) => walletKit.rejectSession({ id, reason }),
      update: (topic, changed) => walletKit.updateSession({ topic, namespaces: changed }),
      extend: (topic) => walletKit.extendSession({ topic }),
      respond: (topic, response) => walletKit.respondSessionRequest({ topic, response }),
      emit: (topic, event) =>
        walletKit.emitSessionEvent({ topic, event, chainId: "eip155:1" }),
      disconnect: (topic, reason) => walletKit.disconnectSession({ topic, reason }),
    };
  }
  const client = await classOf(SIGN_CLIENTS[kind], "SignClient").init(options("wallet", storage));
  return {
    storage,
    client,
    pair: (uri) => client.pair({ uri }),
    approve: (id, approved) => client.approve({ id, namespaces: approved }),
    reject: (id, reason) => client.reject({ id, reason }),
    update: (topic, changed) => client.update({ topic, namespaces: changed }),
    extend: (topic) => client.extend({ topic }),
    respond: (topic, response) => client.respond({ topic, response }),
    emit: (topic, event) => client.emit({ topic, event, chainId: "eip155:1" }),
    disconnect: (topic, reason) => client.disconnect({ topic, reason }),
  };
}

/** The next `name` of a sign client, or a failure after `seconds`. */
export function next(client, name, seconds = 20) {
  let event;
  client.once(name, (value) => {
    event = { value };
  });
  return until(name, () => event, seconds).then((found) => found.value);
}

/** Fails with `what` if `promise` takes longer than `seconds`. */
export function within(what, promise, seconds = 20) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`gave up waiting: ${what}`)), seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The dapp has settled. walletkit returns the session instead, and does not wait. */
export async function acknowledged(approved, seconds = 20) {
  if (typeof approved.acknowledged === "function")
    await within("the acknowledgement", approved.acknowledged(), seconds);
}

/** A session between `dapp` and `wallet`, from the proposal to the settlement. */
export async function settle(dapp, wallet) {
  const proposal = next(wallet.client, "session_proposal");
  const { uri, approval } = await within("connect", dapp.connect());
  await within("pair", wallet.pair(uri));
  const { id } = await proposal;
  const approved = await within("approve", wallet.approve(id, namespaces(ACCOUNT)));
  const session = await within("the approval", approval());
  await acknowledged(approved);
  return session.topic;
}

/** One request of the dapp, answered by the wallet. */
export async function requestAndRespond(dapp, wallet, topic, seconds = 20) {
  const asked = next(wallet.client, "session_request", seconds);
  const answer = dapp.request(topic, { method: "personal_sign", params: ["0x00", ACCOUNT] });
  answer.catch(() => undefined);
  const { id } = await asked;
  const result = `0x${id.toString(16)}`;
  await within("respond", wallet.respond(topic, { id, jsonrpc: "2.0", result }), seconds);
  return (await within("the answer", answer, seconds)) === result;
}

/** Storages of a run that ends, for the run that takes over. */
export function save(file, storages) {
  const entries = storages.map((storage) => [...storage.entries.entries()]);
  fs.writeFileSync(file, JSON.stringify(entries));
}

export function load(file) {
  return JSON.parse(fs.readFileSync(file, "utf8")).map((entries) => {
    const storage = new MemoryStorage();
    storage.entries = new Map(entries);
    return storage;
  });
}
