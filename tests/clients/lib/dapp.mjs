// A dapp's backend as seen from outside: bearer secret, REST, nothing else.
import { servers } from "./parts.mjs";

function dappOf(prefix) {
  const word = (name) => process.env[`${prefix}_${name}`];
  return {
    projectId: word("PROJECT_ID"),
    secret: word("SECRET"),
    url: word("URL"),
    domain: word("DOMAIN"),
    metadata: {
      name: "A dapp of the client tests",
      description: "made for one scenario",
      url: word("URL"),
      icons: [],
    },
  };
}

export const dapp = dappOf("DAPP");
/** Of scenarios with two. */
export const otherDapp = dappOf("OTHER_DAPP");

async function call(from, method, path, body) {
  const response = await fetch(`${servers.cast}/${from.projectId}${path}`, {
    method,
    headers: { Authorization: `Bearer ${from.secret}`, "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

export function notify(accounts, { type, title = "Hello", body = "World é 😀" }, from = dapp) {
  const notification = { type, title, body, icon: "", url: from.url };
  return call(from, "POST", "/notify", { notification, accounts });
}

export const subscribers = (of = dapp) => call(of, "GET", "/subscribers");
