// A wallet of the seed's generation: notify-client 0.12.0 (the released form of the August client),
// with sync-client 0.3.8, identity-keys 0.1.10 and history 1.0.4. Version 0.11.3 of the notify client
// kept its subscriptions in a SyncStore; it was never released to npm, so the wallet puts a SyncStore
// where 0.12.0 has its plain store. That is all that differs between the two.
import { createRequire } from "node:module";
import { SyncClient, SyncStore } from "@walletconnect/sync-client";
import { IdentityKeys } from "@walletconnect/identity-keys";
import { HistoryClient } from "@walletconnect/history";
import { makeCore, servers } from "./parts.mjs";
import "./rejections.mjs";
import { until } from "./report.mjs";

const { NotifyClient } = createRequire(import.meta.url)("notify-client-0.12");

export const STORE_NAME = "com.walletconnect.notify.notifySubscription";

// history 1.0.4 takes the address with every call, and the notify client does not pass it: it always
// asks the production host. A wallet can only hand it a client that does pass it.
function historyAt(core, url) {
  const history = new HistoryClient(core, url);
  return {
    registerTags: (payload) => history.registerTags(payload, url),
    getMessages: (payload) => history.getMessages(payload, url),
  };
}

const HISTORY_TAGS = ["4002", "5000", "5002"];

export class AugustWallet {
  /** Starts a wallet for `key`: identity registered, sync on, listening. */
  static async start(key, { name = "August", core = "2.10", rebuild = false } = {}) {
    const wallet = new AugustWallet(key, name);
    wallet.core = makeCore(core);
    wallet.identityKeys = new IdentityKeys(wallet.core, servers.keys);
    wallet.notify = new NotifyClient({
      core: wallet.core,
      identityKeys: wallet.identityKeys,
      keyserverUrl: servers.keys,
      logger: process.env.CLIENT_LOG ?? "silent",
    });
    wallet.notify.historyClient = historyAt(wallet.core, servers.history);
    await wallet.notify.initialize();
    wallet.notify.on("notify_subscription", (event) => wallet.subscribed.push(event));
    wallet.notify.on("notify_message", (event) => wallet.received.push(event));
    wallet.notify.on("notify_update", (event) => wallet.updated.push(event));
    wallet.notify.on("notify_delete", (event) => wallet.deleted.push(event));
    await wallet.notify.register({ account: key.account, onSign: key.sign });
    await wallet.#enableSync();
    if (rebuild) await wallet.#rebuildFromHistory();
    return wallet;
  }

  constructor(key, name) {
    this.key = key;
    this.name = name;
    this.subscribed = [];
    this.received = [];
    this.updated = [];
    this.deleted = [];
  }

  async #enableSync() {
    const { account } = this.key;
    this.sync = await SyncClient.init({ core: this.core, projectId: this.core.projectId });
    const message = await this.sync.getMessage({ account });
    const signature = await this.key.sign(message);
    await this.sync.register({ account, signature });
    this.store = new SyncStore(STORE_NAME, this.sync, account, signature, (topic, value) =>
      this.#onStoreUpdate(topic, value),
    );
    this.signature = signature;
    await this.store.init();
    this.notify.subscriptions = this.store;
  }

  // What 0.11.3 does with a synced subscription it has no message list for (steps 19 and 20).
  async #onStoreUpdate(topic, subscription) {
    if (!subscription || this.notify.messages.keys.includes(topic)) return;
    await this.notify.messages.set(topic, { topic, messages: {} });
    await this.core.crypto.setSymKey(subscription.symKey, topic);
    await this.core.relayer.subscribe(topic);
  }

  async #rebuildFromHistory() {
    const history = historyAt(this.core, servers.history);
    await history.registerTags({ tags: HISTORY_TAGS, relayUrl: servers.relay });
    const [topic] = this.sync.storeMap.keys;
    const page = await history.getMessages({ topic, direction: "forward", messageCount: 200 });
    await page.injectIntoRelayer();
  }

  /** Subscribes to a dapp and waits for its answer: the topic of the new subscription. */
  async subscribe(metadata) {
    const { id } = await this.notify.subscribe({ account: this.key.account, metadata });
    const event = await until("the subscribe response", () =>
      this.subscribed.find((candidate) => candidate.id === id),
    );
    if (event.params.error) throw new Error(event.params.error.message);
    return event.topic;
  }

  got(title) {
    return this.received.some((event) => event.params.message.title === title);
  }

  has(topic) {
    return this.store.keys.includes(topic);
  }

  subscription(topic) {
    return this.has(topic) ? this.store.get(topic) : undefined;
  }

  enabledTypes(topic) {
    const scope = this.subscription(topic)?.scope ?? {};
    return Object.keys(scope).filter((type) => scope[type].enabled).sort();
  }
}
