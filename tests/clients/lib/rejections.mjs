// All clients of an account hear everything on a notify topic, also each other's answers, and say what
// they cannot make of them by an unhandled rejection. Nothing follows from it; a browser logs it, Node
// would end. What is known to be of that kind is named here. Every other rejection is a failure.
const ANOTHER_CLIENTS_ANSWER = [
  // 0.12.0 has no request for another wallet's answer ...
  /No matching key\. (requests|history)/,
  // ... or is told of a delete, and reads the empty `responseAuth` of a wallet that answered that.
  /Invalid token specified: Cannot read properties of undefined/,
  // 1.4.1 looks for `sbs` in the answer to an August wallet, which has none.
  /Cannot read properties of undefined \(reading 'map'\)[^]*updateSubscriptionsUsingJwt/,
];

process.on("unhandledRejection", (reason) => {
  const text = String(reason?.stack ?? reason);
  if (!ANOTHER_CLIENTS_ANSWER.some((pattern) => pattern.test(text))) throw reason;
});
