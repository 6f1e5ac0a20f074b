// A phone wallet, by the Sign API of WalletConnect: this tab and the wallet meet at the relay that the
// page names. The keys of the session are in the tab's storage, so they outlive a page and end with the tab.

const PREFIX = "phone-wallet ";
const RELAY_MS = 15_000;
const DISCONNECT_MS = 5_000;
const METHOD = "personal_sign";
const NAMESPACES = { eip155: { chains: ["eip155:1"], methods: [METHOD], events: ["accountsChanged", "chainChanged"] } };

const keysInTab = () => Object.keys(sessionStorage).filter((key) => key.startsWith(PREFIX));

/** Whether this tab holds anything of a session. */
export const isUsed = () => keysInTab().length > 0;

/** Storage of the Sign client. */
const tabStorage = {
  async getKeys() {
    return keysInTab().map((key) => key.slice(PREFIX.length));
  },
  async getEntries() {
    return Promise.all((await this.getKeys()).map(async (key) => [key, await this.getItem(key)]));
  },
  async getItem(key) {
    const text = sessionStorage.getItem(PREFIX + key);
    return text === null ? undefined : JSON.parse(text);
  },
  async setItem(key, value) {
    sessionStorage.setItem(PREFIX + key, JSON.stringify(value));
  },
  async removeItem(key) {
    sessionStorage.removeItem(PREFIX + key);
  },
};

class RelayAway extends Error {}

function orRelayAway(promise, milliseconds = RELAY_MS) {
  return Promise.race([
    promise,
    new Promise((_, reject) => setTimeout(() => reject(new RelayAway()), milliseconds)),
  ]);
}

/** The Sign client of this tab. `place` has the data attributes `relay` and `project`. */
export async function openClient({ relay, project }) {
  // Ten times what the page loads otherwise, so only once it is needed.
  const { Core, SignClient } = await import("../vendor/walletconnect.min.js");
  const core = new Core({ relayUrl: relay, projectId: project, logger: "silent", storage: tabStorage, telemetryEnabled: false });
  // Both would report this sign-in to servers of the package's makers.
  core.eventClient.init = async () => undefined;
  core.verify.register = async () => undefined;
  const metadata = { name: "Notifyweb", description: gettext("Signing in to your inbox"), url: location.origin, icons: [`${location.origin}/static/mark.svg`] };
  return SignClient.init({ core, logger: "silent", metadata });
}

/** A new pairing: `{uri, approval()}`, once the relay holds the proposal. */
export function propose(client) {
  return orRelayAway(client.connect({ optionalNamespaces: NAMESPACES }));
}

/** The addresses of a session that can sign texts; throws with a sentence if there are none. */
export function addressesOf(session) {
  const parts = Object.entries(session.namespaces).filter(([name]) => name.split(":")[0] === "eip155").map(([, part]) => part);
  const addresses = [...new Set(parts.flatMap((part) => part.accounts).map((account) => account.split(":")[2]))];
  if (addresses.length === 0)
    throw new Sentence(gettext("The wallet shared no Ethereum account. Choose one in the wallet and connect again."));
  if (!parts.some((part) => part.methods.includes(METHOD)))
    throw new Sentence(gettext("This wallet does not sign texts (personal_sign). Use another wallet, or paste a signature."));
  return addresses;
}

class Sentence extends Error {}

/** The session of this tab that has `address`, or null. */
export function sessionWith(client, address) {
  const wanted = address.toLowerCase();
  return sessionsOf(client).find((session) => chainOf(session, wanted)) ?? null;
}

export const sessionsOf = (client) => client.session.getAll();

/** Which chain of the session has the address; a signature of a text is the same on all of them. */
function chainOf(session, address) {
  const accounts = Object.values(session.namespaces).flatMap((part) => part.accounts);
  const found = accounts.filter((account) => account.startsWith("eip155:") && account.split(":")[2].toLowerCase() === address.toLowerCase());
  const account = found.find((each) => each.startsWith("eip155:1:")) ?? found[0];
  return account?.split(":").slice(0, 2).join(":");
}

export async function askSignature(client, session, hex, address) {
  await orRelayAway(client.core.relayer.transportOpen());
  const ended = new Promise((_, reject) =>
    client.on("session_delete", ({ topic }) => {
      if (topic === session.topic) reject(new Sentence(gettext("The wallet ended the session. Connect it again.")));
    }),
  );
  const request = { method: METHOD, params: [hex, address] };
  return Promise.race([ended, client.request({ topic: session.topic, chainId: chainOf(session, address), request })]);
}

/** Calls `changed(address)` when the wallet reports another account. */
export function watchAccounts(client, changed) {
  client.on("session_event", ({ params }) => {
    const first = params.event.name === "accountsChanged" ? params.event.data?.[0] : null;
    if (first) changed(String(first).split(":").at(-1));
  });
  client.on("session_update", ({ params }) => {
    const first = Object.values(params.namespaces).flatMap((part) => part.accounts)[0];
    if (first) changed(first.split(":")[2]);
  });
}

/** Calls `changed(connected)` when the connection to the relay breaks or returns. */
export function watchRelay(client, changed) {
  client.core.relayer.on("relayer_disconnect", () => changed(false));
  client.core.relayer.on("relayer_connect", () => changed(true));
}

/** A link that opens the wallet of the session on this device, if it named one. */
export function openingLink(session) {
  const { native, universal } = session.peer.metadata.redirect ?? {};
  const isLink = (link) => /^[a-z][a-z0-9+.-]*:\/\//i.test(link ?? "") && !/^(javascript|data|blob|file|vbscript|about|http):/i.test(link);
  return [native, universal].find(isLink) ?? null;
}

/** Ends all sessions and pairings of this tab and forgets them; false if the wallet was not notified. */
export async function end(place) {
  if (!isUsed()) return true;
  let notified = true;
  try {
    const client = await openClient(place);
    const reason = { code: 6000, message: "User disconnected." };
    const disconnects = sessionsOf(client).map(({ topic }) => client.disconnect({ topic, reason }));
    const pairings = client.core.pairing.getPairings().map(({ topic }) => client.core.pairing.disconnect({ topic }));
    await orRelayAway(Promise.all([...disconnects, Promise.allSettled(pairings)]), DISCONNECT_MS);
  } catch {
    notified = false;
  }
  for (const key of keysInTab()) sessionStorage.removeItem(key);
  return notified;
}

/** The text shown to the user for an error of the Sign client or of the wallet. */
export function describe(error, relay) {
  const code = error?.code;
  const message = String(error?.message ?? error);
  if (error instanceof Sentence) return message;
  if (/dynamically imported module|importing a module/i.test(message))
    return gettext("The browser could not load what connects to wallets. Nothing was signed. Check the connection and try again.");
  if (error instanceof RelayAway || /socket|relay server|Failed to publish|Connection interrupted/i.test(message))
    return interpolate(gettext("The relay %s does not respond, so the wallet cannot be reached. Nothing was signed. Try again in a minute."), [relay]);
  if (/internet connection/i.test(message)) return gettext("This browser is offline. Connect it and try again.");
  if (/expired/i.test(message)) return gettext("The wallet did not answer within five minutes. Nothing was signed; try again.");
  if (code === 5000 || code === 5001 || code === 5002 || code === 4001 || /reject|denied|declined/i.test(message))
    return gettext("You declined in the wallet. Nothing was signed.");
  if (code === -32601 || code === 4200 || (code >= 5100 && code < 5200) || /unsupported/i.test(message))
    return gettext("This wallet does not sign texts (personal_sign). Use another wallet, or paste a signature.");
  if (/project id|unauthorized|jwt/i.test(message))
    return interpolate(gettext("The relay %s refuses this server's project id. Its operator has to set PROJECT_ID."), [relay]);
  if (code === 6000 || /No matching key|session topic/i.test(message)) return gettext("The wallet ended the session. Connect it again.");
  return interpolate(gettext("Error from the wallet: %s"), [message.slice(0, 200)]);
}
