// A dapp's backend as seen from outside: bearer secret, REST, nothing else.
import { servers } from "./parts.mjs";

export const dapp = {
  projectId: process.env.DAPP_PROJECT_ID,
  secret: process.env.DAPP_SECRET,
  url: process.env.DAPP_URL,
  metadata: {
    name: "A dapp of the client tests",
    description: "made for one scenario",
    url: process.env.DAPP_URL,
    icons: [],
  },
};

async function call(method, path, body) {
  const response = await fetch(`${servers.cast}/${dapp.projectId}${path}`, {
    method,
    headers: { Authorization: `Bearer ${dapp.secret}`, "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

export function notify(accounts, { type, title = "Hello", body = "World é 😀" }) {
  const notification = { type, title, body, icon: "", url: dapp.url };
  return call("POST", "/notify", { notification, accounts });
}

export const subscribers = () => call("GET", "/subscribers");
