"""Where a pool differs from plain requests, and why it may. What is not listed here must be the same, and a difference
that is listed must be there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """`parts`: what differs, as `pictures.differences` says it; `cases`: their names; `why`: a sentence."""

    why: str
    parts: frozenset[str]
    cases: tuple[str, ...]


EVERYWHERE = {
    "raw / tell": "plain requests counts no bytes of a body in chunks",
    "history / raw / tell": "the same",
    "raw after / tell": "the same",
    "history / raw after / tell": "the same",
    "history / history's history": "requests puts a hop into its own history, and leaves out the first",
    "history / next": "the pool prepares where a redirect leads before it is decided whether to follow it",
}
"""May differ in any case, and does in one at least."""


def _ends(ours: str, why: str, *cases: str) -> Difference:
    return Difference(why, frozenset([ours]), cases)


_BODY = frozenset(["content", "text", "pieces", "text pieces", "lines", "iteration"])

LISTED = (
    # -- times ---------------------------------------------------------------------------------------------------------
    _ends(
        "ConnectionError, not ReadTimeout",
        "plain requests calls it a ConnectionError when time runs out in the body; here it is a timeout at every stage",
        "status 204 in no chunks",
        "status 205 bare",
        "status 205 in no chunks",
        "status 205 of length 11 without the body",
        "status 304 in no chunks",
        "length is too long, kept open",
        "list of the same length, kept open",
        *(
            f"last chunk {what}, kept open"
            for what in (
                *("missing", "only the digit", "only CR", "without its LF", "a trailer cut short"),
                *("without its empty line", "trailers without an end"),
            )
        ),
        *("sized silent after 47", "sized silent after 57", "chunks silent after 47", "chunks silent after 80"),
        "until the end, which does not come",
        "redirect silent in its body",
    ),
    Difference(
        "the deadline's own ReadTimeout holds no error of urllib3's, and no request",
        frozenset(["inner error", "request"]),
        (
            "100 and then nothing",
            *("sized silent after 5", "sized silent after 20", "chunks silent after 5", "chunks silent after 20"),
            *("GET without an answer", "POST without an answer", "DELETE without an answer"),
        ),
    ),
    # -- interim answers -----------------------------------------------------------------------------------------------
    _ends(
        "103, not 200",
        "every interim answer is skipped; plain requests takes it for the final one, and the final one for the next",
        *("103 before", "103 before, by itself", "twenty 103 before", "103 then chunks", "103 of HTTP/1.0 before"),
        *("used before: 103 before", "103 before, byte by byte", "redirect after 103"),
    ),
    _ends("102, not 200", "the same", "102 before", "100, 102 and 103 before"),
    _ends("199, not 200", "the same", "199 before"),
    _ends("104, not 200", "the same", "104 with a cookie before"),
    _ends("103, not 204", "the same", "103 then 204"),
    _ends("103, not 404", "the same", "103 then 404"),
    _ends("103, not ReadTimeout", "the same", "103 and then nothing"),
    _ends("103, not ConnectionError", "the same", "103 and then closed", "103 and then reset", "10,000 times 103"),
    # -- framing -------------------------------------------------------------------------------------------------------
    _ends(
        "200, not ChunkedEncodingError",
        "the size of a chunk is at most 16 hexadecimal digits (RFC 9112, section 7.1), not what Python's int() takes",
        *(
            f"chunk size: {what}"
            for what in (
                *("17 digits", "100 digits", "space before", "tab before", "form feed after", "hex prefix"),
                *("upper hex prefix", "plus", "underscore", "minus zero", "CR CR LF after the size"),
            )
        ),
        *("bare CR for line end 6, chunks", "last chunk: 20 zeros", "last chunk, closed: 20 zeros"),
    ),
    _ends(
        "ValueError, not ChunkedEncodingError",
        "the same; plain requests reads a chunk of -5 bytes",
        "chunk size: minus",
    ),
    _ends(
        "200, not ChunkedEncodingError",
        "a body whose last chunk does not end is not complete",
        *("last chunk only CR, closed", "last chunk only the digit, closed", "chunks closed after 69"),
    ),
    _ends(
        "ConnectionError, not 200",
        "lines may end in a bare LF (RFC 9112, section 2.2), and so may the trailers, where urllib3 waits for CR LF",
        *("last chunk: bare LF at the end", "last chunk: trailers end in bare LF", "last chunk: bare LF twice"),
    ),
    # -- limits --------------------------------------------------------------------------------------------------------
    _ends(
        "200, not ConnectionError",
        "a head is 256 KiB at most",
        *("headers of about 262144 bytes", "headers of about 270000 bytes", "headers of about 600000 bytes"),
    ),
    _ends(
        "200, not ChunkedEncodingError",
        "and so are trailers",
        *("last chunk: 50,000 trailers", "last chunk, closed: 50,000 trailers"),
    ),
    _ends(
        "ChunkedEncodingError, not TooLarge",
        "a length over max_body is refused before any of the body is read",
        *("length 2147483648", "length 4294967301", "length 9223372036854775808", "length 18446744073709551621"),
        *("length 1000000000000000000000000000000", "length a huge number"),
    ),
    # -- redirects -----------------------------------------------------------------------------------------------------
    _ends(
        "InvalidSchema, not Denied",
        "where a redirect may lead is the guard's, whose errors are the pool's own",
        *("location mail", "location data", "location file", "location javascript", "location other scheme"),
    ),
    Difference(
        "a circle of redirects ends as soon as it closes",
        frozenset(["arrivals"]),
        ("location fragment only", "location itself"),
    ),
    Difference(
        "the socket is dropped where more comes than the answer has",
        frozenset(["arrivals"]),
        ("a byte after redirect", "an empty line after redirect", "an answer after redirect"),
    ),
    Difference(
        "a redirect's body that cannot be read is empty; plain requests tries again at each look, or has skipped it",
        frozenset(["history / is consumed"]),
        (
            *("coding of a broken redirect", "redirect with a bad chunk size", "redirect cut short in a chunk"),
            "redirect reset in its body",
        ),
    ),
    Difference(
        "the same",
        frozenset(
            [
                *("history / is consumed", "history / raw / length", "history / raw after / length", "pickled"),
                *(
                    f"history / {part}"
                    for part in ("JSON", "apparent encoding", "fields", "pickled", "raw read", *_BODY)
                ),
            ]
        ),
        ("redirect cut short",),
    ),
    # -- sockets -------------------------------------------------------------------------------------------------------
    Difference(
        "a request that met a socket which its server had closed goes again, over a new one",
        frozenset(["arrivals"]),
        (
            *("GET closed at once, used before", "GET reset at once, used before"),
            *("DELETE closed at once, used before", "DELETE reset at once, used before"),
        ),
    ),
    # -- to be mended --------------------------------------------------------------------------------------------------
    Difference(
        "DEFECT: chunks are not taken apart where http.client does not see them: spaces, lists",
        _BODY | {"JSON"},
        (
            *(
                f"transfer coding {value}{more}"
                for more in ("", ", and a length")
                for value in (
                    *(
                        "spaces",
                        "tab",
                        "NBSP",
                        "form feed",
                        "comma",
                        "comma before",
                        "twice",
                        "gzip before",
                        "gzip after",
                    ),
                    *("identity before", "identity after", "folded"),
                )
            ),
            *("transfer codings: identity first", "transfer codings: gzip first"),
        ),
    ),
    _ends("200, not ReadTimeout", "DEFECT: the same", "gzip, chunked, kept open"),
    _ends(
        "ChunkedEncodingError, not 200",
        "DEFECT: more is read than the length says, where that is a list",
        *("length list of the same", "length tight list of the same", "length list of different numerals"),
        "length folded list",
    ),
    _ends(
        "ChunkedEncodingError, not 200",
        "DEFECT: a head that does not end is taken for one",
        "space CR LF everywhere, chunks",
    ),
    Difference(
        "DEFECT: raw counts a body that has none",
        frozenset(["raw / length", "raw after / length", "raw read"]),
        ("status 204 in chunks", "status 304 in chunks"),
    ),
    Difference("DEFECT? spaces after the coding", _BODY | {"apparent encoding"}, ("coding gzip, spaces",)),
)


BETWEEN_PATHS = (
    Difference(
        "the fast path drops the socket of a body that does not decode, also where it had been read whole",
        frozenset(["after"]),
        (
            *(
                f"coding {name}"
                for name in ("gzip, identity", "identity, gzip", "gzip, br", "gzip, comma", "br, unknown")
            ),
            *(f"coding {name}" for name in ("unknown, br", "garbage after br", "no deflate", "no gzip", "no br")),
            *(f"coding {name}" for name in ("no gzip, in chunks", "gzip as deflate", "deflate as gzip", "wrong size")),
            *("coding wrong checksum", "coding wrong checksum of deflate", "coding corrupt inside"),
            "coding of a broken 404",
        ),
    ),
    Difference(
        "the same; the redirect goes on over a new one",
        frozenset(["after", "arrivals"]),
        ("coding of a broken redirect",),
    ),
)
"""Where the fast path differs from requests' own path, and why it may."""


def expected(case: str) -> set[str]:
    """Where requests' own path differs from plain requests in one case."""
    return {part for listed in LISTED if case in listed.cases for part in listed.parts}


def between_paths(case: str) -> set[str]:
    """Where the fast path differs from requests' own in one case."""
    return {part for listed in BETWEEN_PATHS if case in listed.cases for part in listed.parts}


ASKED: dict[str, set[str]] = {}


def of_ask(name: str) -> set[str]:
    """What may differ when something is asked in a certain way."""
    return ASKED.get(name, set())
