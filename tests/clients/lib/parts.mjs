// The published packages, made ready for a test: where the servers are, a core of any
// version, a wallet key. Nothing of a package is changed; only options and public properties.
import { Wallet } from "@ethersproject/wallet";
import { Core as Core210 } from "@walletconnect/core";
import { Core as Core212 } from "core-2.12";
import { Core as Core225 } from "core-2.25";

export const servers = {
  relay: process.env.TARGET_RELAY_URL,
  keys: process.env.TARGET_KEYS_URL,
  history: process.env.TARGET_HISTORY_URL,
  cast: process.env.TARGET_CAST_URL,
};
export const projectId = process.env.PROJECT_ID ?? "client-tests";

const CORES = { "2.10": Core210, "2.12": Core212, "2.25": Core225 };

/** Storage that ends with the process: two wallets of one test must not share a file. */
export class MemoryStorage {
  entries = new Map();
  async getKeys() {
    return [...this.entries.keys()];
  }
  async getEntries() {
    return [...this.entries.entries()];
  }
  async getItem(key) {
    return this.entries.get(key);
  }
  async setItem(key, value) {
    this.entries.set(key, structuredClone(value));
  }
  async removeItem(key) {
    this.entries.delete(key);
  }
}

let coreNumber = 0;

/** A core of `version` ("2.10", "2.12", "2.25"); core 2.x refuses a second one of equal prefix. */
export function makeCore(version = "2.10", options = {}) {
  coreNumber += 1;
  return new CORES[version]({
    projectId,
    relayUrl: servers.relay,
    logger: process.env.CLIENT_LOG ?? "silent",
    storage: new MemoryStorage(),
    customStoragePrefix: `client-${coreNumber}`,
    telemetryEnabled: false,
    ...options,
  });
}

/** An Ethereum key as a wallet app holds it: account in CAIP-10 form and a signer. */
export function makeEthereumKey(privateKey = undefined) {
  const wallet = privateKey ? new Wallet(privateKey) : Wallet.createRandom();
  return {
    privateKey: wallet.privateKey,
    account: `eip155:1:${wallet.address}`,
    sign: (message) => wallet.signMessage(message),
  };
}
