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
        "status 205 bare",
        "status 205 in no chunks",
        "status 205 of length 11 without the body",
        "length is too long, kept open",
        *(
            f"last chunk {what}, kept open"
            for what in (
                *("missing", "only the digit", "only CR", "without its LF", "a trailer cut short"),
                *("without its empty line", "trailers without an end"),
            )
        ),
        *("sized silent after 47", "sized silent after 57", "chunks silent after 47", "chunks silent after 80"),
        "until the end, which does not come",
        *("redirect silent in its body", "coding, silent inside", "coding, silent in a chunk"),
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
    Difference(
        "status 204 and 304 have no body (RFC 9112, section 6.3), and what follows them is no part of them",
        _BODY | {"apparent encoding"},
        ("status 204 in chunks", "status 304 in chunks"),
    ),
    _ends("ConnectionError, not 204", "the same; plain requests waits for chunks", "status 204 in no chunks"),
    _ends("ConnectionError, not 304", "the same", "status 304 in no chunks"),
    _ends(
        "200, not InvalidHeader",
        "a Content-Length that is no number, or two that differ, leave open where the answer ends (section 6.3); plain "
        "requests reads on until the end, or believes one of them",
        *(
            f"length {what}"
            for what in (
                *("NBSP", "NUL", "UTF-8 digit", "blank", "bytes", "empty", "exponent", "folded", "folded digits"),
                *("form feed", "fraction", "hex", "hex digit", "list from nothing", "list of nothings"),
                *("list with nothing", "minus", "minus one", "minus zero", "octal", "plus", "plus, kept open"),
                *("quoted", "semicolon", "superscript", "two numbers", "underscore", "word"),
            )
        ),
        *("two lengths: bad one first", "two lengths: different numerals", "two lengths: one bad"),
        *("two lengths: one empty", "a length of 5,000 digits"),
    ),
    _ends(
        "ChunkedEncodingError, not InvalidHeader",
        "the same; plain requests reads the body before it finds the length wrong",
        *("length folded list", "length list of different numerals"),
    ),
    _ends(
        "ChunkedEncodingError, not 200",
        "one number that is said several times in a list is that number (section 6.3)",
        *("length list of the same", "length tight list of the same"),
    ),
    _ends(
        "ConnectionError, not 200",
        "the same; plain requests waits for more",
        "list of the same length, kept open",
    ),
    _ends(
        "200, not ConnectionError",
        "a head that ends with the connection is refused: what is missing may have said how the body is to be read",
        *("bare CR everywhere, chunks", "bare CR everywhere, sized", "used before: half an answer"),
        *(f"{kind} closed after {count}" for kind in ("chunks", "sized") for count in (12, 15, 16, 17, 20, 30)),
    ),
    _ends(
        "ChunkedEncodingError, not ConnectionError",
        "the same; plain requests misses the body",
        *("CR CR LF everywhere, sized", "space CR LF everywhere, chunks", "space CR LF everywhere, sized"),
        *("bare CR for line end 2, sized", "bare CR for line end 3, sized"),
        *("sized closed after 45", "sized closed after 46"),
    ),
    # -- coding --------------------------------------------------------------------------------------------------------
    _ends(
        "200, not ContentDecodingError",
        "zstd's end is asked for however the body comes; plain requests looks for it in chunks only",
        "coding zstd cut short",
    ),
    Difference(
        "spaces after a coding's name are no part of it (RFC 9110, section 5.6.1)",
        _BODY | {"apparent encoding"},
        ("coding gzip, spaces",),
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
            *("coding of a broken 404", "coding no zstd", "coding garbage after zstd", "coding zstd cut short"),
        ),
    ),
    Difference(
        "the same; the redirect goes on over a new one",
        frozenset(["after", "arrivals", "history / raw / tell", "history / raw after / tell"]),
        ("coding of a broken redirect",),
    ),
    Difference(
        "of a redirect's body that is cut short nothing is kept, and requests' own raw still counts what was missing",
        frozenset(["history / raw / length", "history / raw after / length", "history / raw read"]),
        ("redirect cut short", "redirect reset in its body"),
    ),
    Difference(
        "where http.client sees no chunks it is urllib3 that reads them, which counts no bytes",
        frozenset(["raw / tell", "raw after / tell"]),
        ("transfer coding spaces", "transfer coding tab"),
    ),
)
"""Where the fast path differs from requests' own path, and why it may."""

WHEN_CARRIED = (
    Difference(
        "what is carried goes over a used socket, and once more over a new one if that was closed before it answered",
        frozenset(["after", "arrivals"]),
        ("GET closed at once", "GET reset at once", "DELETE closed at once", "DELETE reset at once"),
    ),
)
"""Where a request that is carried differs from one that a thread waits for, and why it may."""


def expected(case: str) -> set[str]:
    """Where requests' own path differs from plain requests in one case."""
    return {part for listed in LISTED if case in listed.cases for part in listed.parts}


def between_paths(case: str) -> set[str]:
    """Where the fast path differs from requests' own in one case."""
    return {part for listed in BETWEEN_PATHS if case in listed.cases for part in listed.parts}


def when_carried(case: str) -> set[str]:
    """Where a request that is carried differs in one case from one that a thread waits for."""
    return {part for listed in WHEN_CARRIED if case in listed.cases for part in listed.parts}


MAY_DIFFER_WHEN_ASKED = {
    "history / next": "requests leaves where a hop led in all but the first; the pool in none, since it is followed",
}
"""In what comes of a request that is asked in some way."""
