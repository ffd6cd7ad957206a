"""How requests say who sends them: tokens that end and are fetched anew, and secrets that are named, not written."""

from workerpool.credentials.logins import UNAUTHORIZED, Bearer, Login, Logins, as_failure
from workerpool.credentials.references import Secret, is_reference, secret_of
from workerpool.credentials.sources import TOKEN_SOURCE, BearerToken, ClientCredentials, Token, TokenSource, as_it_is

__all__ = [
    "TOKEN_SOURCE",
    "UNAUTHORIZED",
    "Bearer",
    "BearerToken",
    "ClientCredentials",
    "Login",
    "Logins",
    "Secret",
    "Token",
    "TokenSource",
    "as_failure",
    "as_it_is",
    "is_reference",
    "secret_of",
]
