"""The catalogue of problem types: what each means, and what the caller can do.

Spec: RFC 9457, section 3.1.1: a type is the address of documentation for people. The page
of a type is ``<public url>/problems/<name>``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise


@dataclass(frozen=True, slots=True)
class ProblemType:
    status: int
    meaning: StrPromise
    remedy: StrPromise


_READ_DETAIL: Final = _(
    "The member “detail” of the answer names the fault; “field” names the value, if one "
    "value is wrong. Correct the request and send it again."
)
_TRY_LATER: Final = _(
    "Send the same request again after the seconds in the header Retry-After. Nothing "
    "was changed."
)
_CHECK_ID: Final = _("Check the identifier. What was deleted is not found either.")

PROBLEM_TYPES: Final[dict[str, ProblemType]] = {
    "bad-request": ProblemType(
        400, _("A value in the request is malformed."), _READ_DETAIL
    ),
    "malformed": ProblemType(
        400,
        _("The body is not valid JSON, or is nested too deeply."),
        _("Send UTF-8 JSON without NaN, Infinity or lone surrogates."),
    ),
    "unauthorized": ProblemType(
        401,
        _("The request has no valid credentials."),
        _(
            "Send the header Authorization: Bearer with a secret that is neither revoked "
            "nor expired. A wrong project id and a wrong secret get the same answer."
        ),
    ),
    "forbidden": ProblemType(
        403,
        _("This is not allowed for the caller."),
        _("Use an account or a secret with the right to it."),
    ),
    "insufficient-scope": ProblemType(
        403,
        _("The API secret does not have the scope that this call needs."),
        _(
            "The header WWW-Authenticate names the scope. Make a secret with it on the "
            "page “Keys & API” of the project."
        ),
    ),
    "role": ProblemType(
        403,
        _("Your role in this project does not allow it."),
        _("An owner of the project can change your role on its page “Members”."),
    ),
    "csrf": ProblemType(
        403,
        _("The form is out of date, or another site sent it."),
        _("Reload the page and send the form again."),
    ),
    "not-found": ProblemType(
        404, _("There is nothing at this address, or it is not yours."), _CHECK_ID
    ),
    "method": ProblemType(
        405,
        _("The address does not take this HTTP method."),
        _("The header Allow lists the methods that it takes."),
    ),
    "taken": ProblemType(
        409,
        _("The value conflicts with one that exists."),
        _("Choose another value; “field” names which."),
    ),
    "still-running": ProblemType(
        409,
        _("The first call with this Idempotency-Key has not ended."),
        _TRY_LATER,
    ),
    "too-large": ProblemType(
        413,
        _("The body is larger than allowed."),
        _("Split it into several requests."),
    ),
    "invalid": ProblemType(
        422, _("The body is well-formed, but a value is not allowed."), _READ_DETAIL
    ),
    "too-many-requests": ProblemType(
        429, _("A rate limit or a quota is exhausted."), _TRY_LATER
    ),
    "http": ProblemType(
        400, _("The web server could not process the HTTP request."), _READ_DETAIL
    ),
    "server-error": ProblemType(
        500,
        _("Something went wrong on this server."),
        _("Send it again later. If it stays, give the operator the request id."),
    ),
    "database-away": ProblemType(
        503, _("The database does not answer; nothing was changed."), _TRY_LATER
    ),
    # Of the Keys Server: clients compare these names.
    "cacao": ProblemType(
        400,
        _("The CACAO (CAIP-74) is malformed, expired, or not signed by its account."),
        _READ_DETAIL,
    ),
    "did": ProblemType(400, _("A DID is malformed."), _READ_DETAIL),
    "jwt_verification": ProblemType(
        400,
        _("The JWT is malformed, expired, not for this server, or signed otherwise."),
        _READ_DETAIL,
    ),
    "validation": ProblemType(400, _("A parameter is malformed."), _READ_DETAIL),
    "identity-key-not-found": ProblemType(
        404, _("No identity key with this value is registered."), _CHECK_ID
    ),
    "invite-key-not-found": ProblemType(
        404, _("The account has registered no invite key."), _CHECK_ID
    ),
    "account-not-found": ProblemType(
        404, _("The account has registered nothing."), _CHECK_ID
    ),
}
