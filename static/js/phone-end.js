// Ends the session with the phone wallet, then goes on.
import { end } from "./phone-wallet.js";

const place = document.getElementById("phone-end");
if (await end(place.dataset)) location.replace(place.dataset.next);
else
  document.getElementById("phone-note").textContent = gettext(
    "The wallet could not be told, because the relay does not respond. This browser has forgotten the session; you can end it in the wallet, too.",
  );
