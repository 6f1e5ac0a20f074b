// A dapp and a wallet, of the kinds named on the command line, through the whole life of a session.
import {
  ACCOUNT,
  OTHER_ACCOUNT,
  makeDapp,
  makeWallet,
  namespaces,
  next,
  requestAndRespond,
  settle,
  within,
} from "../lib/sign.mjs";
import { check, did, scenario, until } from "../lib/report.mjs";

const [dappKind, walletKind] = process.argv.slice(2);
const soon = () => Math.floor(Date.now() / 1000) + 1;
// Clients look for what has expired at each pulse, which comes every five seconds.
const pulse = (client) => client.core.heartbeat.events.emit("heartbeat_pulse");

scenario(async () => {
  const [dapp, wallet] = [await makeDapp(dappKind), await makeWallet(walletKind)];

  const refused = next(wallet.client, "session_proposal");
  const first = await within("connect", dapp.connect());
  await wallet.pair(first.uri);
  await wallet.reject((await refused).id, { code: 5000, message: "User rejected." });
  const reason = await within(
    "the rejection",
    first.approval().then(
      () => undefined,
      (error) => error,
    ),
  );
  check(reason?.code === 5000, `rejected with ${JSON.stringify(reason)}`);
  did("a proposal is rejected");

  const late = next(wallet.client, "session_proposal");
  const second = await within("connect", dapp.connect());
  await wallet.pair(second.uri);
  const { id: lateId } = await late;
  const unanswered = second.approval().then(
    () => undefined,
    (error) => error,
  );
  for (const { client } of [dapp, wallet]) client.core.expirer.set(lateId, soon());
  for (const { client } of [dapp, wallet])
    await until("it is forgotten", () => {
      pulse(client);
      return !client.proposal.keys.includes(lateId);
    });
  // The older ones go on waiting for five minutes, whatever they have forgotten.
  if (!["2.10", "2.17"].includes(dappKind))
    check(/expired/i.test((await within("the expiry", unanswered))?.message), "it expired");
  did("a proposal expires");

  const topic = await settle(dapp, wallet);
  check(dapp.client.session.get(topic).acknowledged, "the dapp has the session");
  await until("settled", () => wallet.client.session.get(topic).acknowledged);
  did("a session is proposed, approved and settled");

  check(await requestAndRespond(dapp, wallet, topic), "the answer is the wallet's");
  const asked = next(wallet.client, "session_request");
  const denied = within(
    "the error",
    dapp.request(topic, { method: "personal_sign", params: ["0x01", ACCOUNT] }).then(
      () => undefined,
      (error) => error,
    ),
  );
  const { id } = await asked;
  const error = { code: 5000, message: "User rejected." };
  await wallet.respond(topic, { id, jsonrpc: "2.0", error });
  check((await denied)?.code === 5000, "the error is the wallet's");
  did("requests are answered");

  const event = next(dapp.client, "session_event");
  await wallet.emit(topic, { name: "accountsChanged", data: [OTHER_ACCOUNT] });
  check((await event).params.event.data[0] === OTHER_ACCOUNT, "the event's data");
  did("an event reaches the dapp");

  // A dapp of 2.10 reads `requiredNamespaces` at an update, which wallets from 2.21.8 on do not send any more.
  if (dapp.client.session.get(topic).requiredNamespaces || dappKind !== "2.10") {
    // An acknowledgement that comes before it is waited for is lost in the client.
    const updated = next(dapp.client, "session_update");
    const update = await wallet.update(topic, namespaces(ACCOUNT, OTHER_ACCOUNT));
    await within("the update's acknowledgement", update.acknowledged());
    check((await updated).params.namespaces.eip155.accounts.length === 2, "the update");
    did("the session is updated");
  }

  const extended = next(dapp.client, "session_extend");
  const extension = await wallet.extend(topic);
  await within("the extension's acknowledgement", extension.acknowledged());
  await extended;
  did("the session is extended");

  const pinged = [next(dapp.client, "session_ping"), next(wallet.client, "session_ping")];
  await within("the dapp's ping", dapp.client.ping({ topic }));
  await within("the wallet's ping", wallet.client.ping({ topic }));
  await Promise.all(pinged);
  did("both sides ping");

  const deleted = next(dapp.client, "session_delete");
  await wallet.disconnect(topic, { code: 6000, message: "User disconnected." });
  check((await deleted).topic === topic, "the session that ends");
  await until("the dapp forgets it", () => !dapp.client.session.keys.includes(topic));
  did("the wallet disconnects");

  const other = await settle(dapp, wallet);
  const gone = next(wallet.client, "session_delete");
  await dapp.disconnect(other, { code: 6000, message: "User disconnected." });
  check((await gone).topic === other, "the session that ends");
  did("the dapp disconnects");

  const last = await settle(dapp, wallet);
  const over = [dapp, wallet].map(({ client }) => next(client, "session_expire"));
  for (const { client } of [dapp, wallet]) client.core.expirer.set(last, soon());
  for (const { client } of [dapp, wallet])
    await until("it is forgotten", () => {
      pulse(client);
      return !client.session.keys.includes(last);
    });
  await Promise.all(over);
  did("a session expires");
});
