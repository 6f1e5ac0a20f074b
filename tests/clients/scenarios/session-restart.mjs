// The relay is killed twice: between a proposal and its approval, and under a session. The test does so between
// "… before the restart" and its word.
import {
  ACCOUNT,
  acknowledged,
  makeDapp,
  makeWallet,
  namespaces,
  next,
  requestAndRespond,
  within,
} from "../lib/sign.mjs";
import { check, did, scenario, told, until } from "../lib/report.mjs";

const [dappKind, walletKind] = process.argv.slice(2);
const PATIENCE = 60;

scenario(async () => {
  const [dapp, wallet] = [await makeDapp(dappKind), await makeWallet(walletKind)];
  const { uri, approval } = await within("connect", dapp.connect());
  const proposal = next(wallet.client, "session_proposal", PATIENCE);
  await within("pair", wallet.pair(uri));
  const { id } = await proposal;
  // core 2.10 never finishes a subscribe that it began without a connection, and takes a
  // dead connection for a live one until its close event.
  const reconnected =
    walletKind === "2.10" &&
    next(wallet.client.core.relayer, "relayer_disconnect", PATIENCE).then(() =>
      until("reconnected", () => wallet.client.core.relayer.connected, PATIENCE),
    );
  did("proposed before the restart");

  await told("restarted");
  await reconnected;
  const approved = await within("approve", wallet.approve(id, namespaces(ACCOUNT)), PATIENCE);
  const { topic } = await within("the approval", approval(), PATIENCE);
  await acknowledged(approved, PATIENCE);
  did("settled before the restart");

  await told("restarted again");
  for (const { client } of [dapp, wallet])
    await until("reconnected", () => client.core.relayer.connected, PATIENCE);
  check(await requestAndRespond(dapp, wallet, topic, PATIENCE), "the answer");
  await within("the wallet's ping", wallet.client.ping({ topic }), PATIENCE);
  did("the session outlived the relay");
});
