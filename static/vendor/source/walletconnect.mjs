// What signing with a phone wallet needs from the Sign client, and nothing more.
export { Core } from "@walletconnect/core";
export { SignClient } from "@walletconnect/sign-client";
