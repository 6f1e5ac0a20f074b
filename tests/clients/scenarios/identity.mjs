// identity-keys of the form named on the command line against our Keys Server: register, resolve,
// unregister. Each form builds its own CACAO: an empty statement (0.1.10), a statement with the key in
// `aud` (1.0.1, 2.1.0), a recap with the key in the query of `aud` (2.1.0).
// Seed: what step 9 checks.
import { createRequire } from "node:module";
import { encodeEd25519Key } from "@walletconnect/did-jwt";
import { makeCore, makeEthereumKey, projectId, servers } from "../lib/parts.mjs";
import { check, did, scenario } from "../lib/report.mjs";

const require = createRequire(import.meta.url);
const form = process.argv[2];
const domain = "wallet.example.org";
const statement =
  "I further authorize this app to view and manage my notifications for ALL apps. " +
  "Read more at https://walletconnect.com/notifications-all-apps";

const FORMS = {
  "0.1": {
    make: (core) => new (require("@walletconnect/identity-keys").IdentityKeys)(core, servers.keys),
    register: (keys, wallet) =>
      keys.registerIdentity({ accountId: wallet.account, onSign: wallet.sign }),
  },
  "1.0": {
    make: (core) => new (require("identity-keys-1").IdentityKeys)(core, servers.keys),
    async register(keys, wallet) {
      const request = { accountId: wallet.account, domain, statement };
      const { message, registerParams } = await keys.prepareRegistration(request);
      return keys.registerIdentity({ registerParams, signature: await wallet.sign(message) });
    },
  },
  2.1: {
    make: (core) => new (require("identity-keys-2").IdentityKeys)(core, projectId, servers.keys),
    async register(keys, wallet) {
      const request = { accountId: wallet.account, domain, statement };
      const { message, registerParams } = await keys.prepareRegistration(request);
      const signature = { t: "eip191", s: await wallet.sign(message) };
      return keys.registerIdentity({ registerParams, signature });
    },
  },
  "2.1-recap": {
    make: (core) => FORMS["2.1"].make(core),
    async register(keys, wallet) {
      // The recap form has no `iss` of its own: a wallet adds it to the payload it signs.
      const { formatMessage } = createRequire(require.resolve("identity-keys-2"))(
        "@walletconnect/utils",
      );
      const recapObject = {
        att: { "https://notify.walletconnect.com": { "manage/all-apps-notifications": [{}] } },
      };
      const prepared = await keys.prepareRegistrationWithRecaps({ domain, recapObject });
      const cacaoPayload = { ...prepared.cacaoPayload, iss: `did:pkh:${wallet.account}` };
      const message = formatMessage(cacaoPayload, cacaoPayload.iss);
      const signature = { t: "eip191", s: await wallet.sign(message) };
      return keys.registerIdentity({ registerParams: { ...prepared, cacaoPayload }, signature });
    },
  },
};

async function ask(publicKey) {
  const response = await fetch(`${servers.keys}/identity?publicKey=${publicKey}`);
  return { status: response.status, answer: await response.json() };
}

scenario(async () => {
  const core = makeCore("2.10");
  await core.start();
  const wallet = makeEthereumKey();
  const keys = FORMS[form].make(core);
  await keys.init();

  const publicKey = encodeEd25519Key(await FORMS[form].register(keys, wallet));
  did("registers", { steps: [9] });

  const cacao = await keys.resolveIdentity({ publicKey });
  check(cacao.p.iss === `did:pkh:${wallet.account}`, "the CACAO names the account");
  check(JSON.stringify(cacao.p).includes(publicKey), "the CACAO names the identity key");
  did("resolves", { steps: [9] });

  await keys.unregisterIdentity({ account: wallet.account });
  const { status, answer } = await ask(publicKey.replace("did:key:", ""));
  check(status === 404, `after unregister: ${status}`);
  check(answer.status === "FAILURE" && answer.value === null, "the FAILURE envelope");
  did("unregisters");
});
