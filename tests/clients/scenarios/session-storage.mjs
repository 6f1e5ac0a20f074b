// A session outlives the processes of both sides. Run "settle" first, then "resume" with what it saved: while both
// are away a request is on its way, and the wallet answers it when it is back.
import {
  ACCOUNT,
  load,
  makeDapp,
  makeWallet,
  next,
  requestAndRespond,
  save,
  settle,
  within,
} from "../lib/sign.mjs";
import { check, did, scenario, until } from "../lib/report.mjs";

const [part, dappKind, walletKind, file] = process.argv.slice(2);

scenario(async () => {
  if (part === "settle") {
    const [dapp, wallet] = [await makeDapp(dappKind), await makeWallet(walletKind)];
    const topic = await settle(dapp, wallet);
    await until("settled", () => wallet.client.session.get(topic).acknowledged);
    // What the wallet does not read any more is in its mailbox when it is back.
    await wallet.client.core.relayer.transportClose();
    save(file, [dapp.storage, wallet.storage]);
    did("settled and saved");
    const published = new Promise((resolve) =>
      dapp.client.core.relayer.events.once("relayer_publish", resolve),
    );
    dapp
      .request(topic, { method: "personal_sign", params: ["0x02", ACCOUNT] })
      .catch(() => undefined);
    await within("the request's publication", published);
    did("asked while the wallet was away");
    return;
  }
  const [dappStorage, walletStorage] = load(file);
  const wallet = await makeWallet(walletKind, walletStorage);
  const missed = next(wallet.client, "session_request");
  const dapp = await makeDapp(dappKind, dappStorage);
  const topic = dapp.client.session.getAll()[0].topic;
  check(wallet.client.session.keys.includes(topic), "both still have the session");

  const { id, params } = await missed;
  check(params.request.params[0] === "0x02", "the request that was missed");
  await wallet.respond(topic, { id, jsonrpc: "2.0", result: "0x02" });
  did("the request of before arrives");

  check(await requestAndRespond(dapp, wallet, topic), "the answer is the wallet's");
  await within("the dapp's ping", dapp.client.ping({ topic }));
  did("the session goes on");

  const deleted = next(wallet.client, "session_delete");
  await dapp.disconnect(topic, { code: 6000, message: "User disconnected." });
  await deleted;
  did("the session ends");
});
