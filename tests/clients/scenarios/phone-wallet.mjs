// A wallet on a phone (the walletkit), which the test tells what to do, a JSON object a line:
// {"scan": uri, "proposal": "approve" | "reject" | "wait", "requests": "sign" | "reject" | "unable" | "wait" | "leave",
//  "accounts": […], "methods": […]}, {"requests": …}, {"switch": address} or {"stop": true}.
import readline from "node:readline";
import { makeEthereumKey } from "../lib/parts.mjs";
import { makeWallet } from "../lib/sign.mjs";
import { did, scenario } from "../lib/report.mjs";

const USER_REJECTED = { code: 5000, message: "User rejected." };
const UNABLE = { code: 5101, message: "Unsupported methods." };

scenario(async () => {
  const key = makeEthereumKey(process.env.WALLET_KEY);
  const wallet = await makeWallet("walletkit");
  let orders = {};

  wallet.client.on("session_proposal", async ({ id, params }) => {
    const asked = params.optionalNamespaces.eip155 ?? params.requiredNamespaces.eip155;
    did("proposal", { name: params.proposer.metadata.name, methods: asked.methods, chains: asked.chains });
    if (orders.proposal === "reject") await wallet.reject(id, USER_REJECTED);
    if (orders.proposal === "approve")
      await wallet.approve(id, {
        eip155: {
          accounts: orders.accounts ?? [key.account],
          methods: orders.methods ?? asked.methods,
          events: asked.events,
        },
      });
  });
  wallet.client.on("session_request", async ({ id, topic, params }) => {
    const { method, params: parameters } = params.request;
    const text = Buffer.from(parameters[0].slice(2), "hex").toString();
    did("request", { method, text, address: parameters[1], chain: params.chainId });
    const respond = (answer) => wallet.respond(topic, { id, jsonrpc: "2.0", ...answer });
    if (orders.requests === "sign") await respond({ result: await key.sign(text) });
    if (orders.requests === "reject") await respond({ error: USER_REJECTED });
    if (orders.requests === "unable") await respond({ error: UNABLE });
    if (orders.requests === "leave") await wallet.disconnect(topic, { code: 6000, message: "User disconnected." });
  });
  wallet.client.on("session_delete", () => did("ended"));
  did("ready", { account: key.account });

  for await (const line of readline.createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    if (order.stop) break;
    orders = { ...orders, ...order };
    if (order.scan) wallet.pair(order.scan).catch((error) => did("not paired", { error: String(error.message) }));
    if (order.switch)
      // Sessions of earlier tests may have lost their browser.
      await Promise.allSettled(
        wallet.client.session
          .getAll()
          .map(({ topic }) => wallet.emit(topic, { name: "accountsChanged", data: [order.switch] })),
      );
  }
});
