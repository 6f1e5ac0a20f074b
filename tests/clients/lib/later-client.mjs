// A client of the later generation: notify-client 1.4.1, unchanged. The Cast Server tells it what its
// account is subscribed to; it knows no Sync.
import { createRequire } from "node:module";
import { makeCore, projectId, servers } from "./parts.mjs";
import "./rejections.mjs";
import { until } from "./report.mjs";

const require = createRequire(import.meta.url);
const { NotifyClient } = require("@walletconnect/notify-client");

// The package has the explorer's address built in. Where it asks for a dapp's types, our Cast Server
// answers: as a name server would send it there.
const EXPLORER = "https://explorer-api.walletconnect.com";
export const axios = createRequire(require.resolve("@walletconnect/notify-client"))("axios");
axios.interceptors.request.use((config) => ({
  ...config,
  url: config.url.replace(EXPLORER, servers.cast),
}));

export const WALLET_DOMAIN = "wallet.example.org";

export class LaterClient {
  /** Starts a client for `key`, registered and watching: for all apps, or for `domain` only. */
  static async start(key, { domain = WALLET_DOMAIN, allApps = true } = {}) {
    const later = new LaterClient(key);
    later.client = await NotifyClient.init({
      core: makeCore("2.12"),
      projectId,
      keyserverUrl: servers.keys,
      logger: process.env.CLIENT_LOG ?? "silent",
    });
    later.client.notifyServerUrl = new URL(servers.cast).origin;
    later.client.on("notify_message", (event) => later.received.push(event.params.message));
    later.client.on("notify_subscriptions_changed", () => (later.lists += 1));
    await later.register({ domain, allApps });
    // `hasFinishedInitialLoad` is true before a first registration, too.
    await until("the first watch answer", () => later.lists > 0);
    return later;
  }

  /** Registers an identity key, and watches; the public key in hex. */
  async register({ domain = WALLET_DOMAIN, allApps = true } = {}) {
    const request = { account: this.key.account, domain, allApps };
    const { message, registerParams } = await this.client.prepareRegistration(request);
    const signature = await this.key.sign(message);
    return this.client.register({ registerParams, signature });
  }

  constructor(key) {
    this.key = key;
    this.name = "1.4.1";
    this.received = [];
    // How often it was told its subscriptions, the answer to the watch included.
    this.lists = 0;
  }

  get subscriptions() {
    return this.client.getActiveSubscriptions({ account: this.key.account });
  }

  get topics() {
    return Object.keys(this.subscriptions);
  }

  has(topic) {
    return topic in this.subscriptions;
  }

  enabledTypes(topic) {
    const scope = this.subscriptions[topic]?.scope ?? {};
    return Object.keys(scope).filter((type) => scope[type].enabled).sort();
  }

  unread(topic) {
    return this.subscriptions[topic]?.unreadNotificationCount;
  }

  got(title) {
    return this.received.some((message) => message.title === title);
  }

  /** Subscribes by domain; the topic of the new subscription. */
  async subscribe(appDomain) {
    const before = new Set(this.topics);
    if (!(await this.client.subscribe({ account: this.key.account, appDomain })))
      throw new Error("subscribe said no");
    return until("the subscription", () => this.topics.find((topic) => !before.has(topic)));
  }
}
