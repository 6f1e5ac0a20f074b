// What is published on topics of an account, by whomever: one more relay client that holds the topics'
// keys and writes down what it hears.
import { makeCore } from "./parts.mjs";

export class RelayLedger {
  static async start() {
    const ledger = new RelayLedger();
    ledger.core = makeCore("2.10");
    await ledger.core.start();
    ledger.core.relayer.on("relayer_message", (event) => ledger.#note(event));
    return ledger;
  }

  constructor() {
    this.lines = [];
  }

  /** Listens to `topic`, whose key is in the keychain of `core`. */
  async listen(topic, core) {
    await this.core.crypto.setSymKey(core.crypto.keychain.get(topic), topic);
    await this.core.relayer.subscribe(topic);
  }

  async #note({ topic, message }) {
    const payload = await this.core.crypto.decode(topic, message);
    this.lines.push({ topic, method: payload.method ?? "answer", key: payload.params?.key });
  }

  /** How often `method` was said on `topic`; of the store's methods: of entry `key`. */
  count(topic, method, key = undefined) {
    const isIt = (line) => line.topic === topic && line.method === method && line.key === key;
    return this.lines.filter(isIt).length;
  }
}
