"""What has no flag: arguments of `WorkerPool` and `Job` that are for programs, and the fields of values."""

from __future__ import annotations

from workerpool.config import RetryPolicy
from workerpool.options.option import Option

# fmt: off

ONLY_PYTHON = (
    Option("thread_name_prefix", "", "of the threads' names", "the executor's"),
    Option("initializer", "", "called in each worker before its first work; `pool.session` is there already", "none"),
    Option("initargs", "", "what `initializer` is called with"),
    Option("retry", "", "a `RetryPolicy`, or a number of attempts in all", f"{RetryPolicy().attempts} attempts"),
    Option(
        "breaker", "", "a `Breaker`, or a number of failures in a row after which a host is left alone for a while",
        "never"),
    Option(
        "cookies", "",
        "`\"none\"` keeps none between requests, so that an outcome does not hang on which worker ran it (a chain "
        "of redirects keeps its own); `\"worker\"` keeps them in each worker's session, `\"shared\"` in one jar "
        "for the pool"),
    Option("max_redirects", "", "hops that a request may take; a circle ends at once"),
    Option(
        "proxies", "",
        "as in requests, for every request without its own; or a `ProxyList`, which [take turns](../howto/proxies.md)",
        "the environment's"),
    Option("verify", "", "as in requests, for every request without its own; goes before `REQUESTS_CA_BUNDLE`"),
    Option("cert", "", "as in requests, for every request without its own", "none"),
    Option(
        "fast_path", "",
        "send plain requests by [the fast path](../design/fast-path.md). What needs requests' own code goes there: "
        "streamed responses, response hooks, auth that answers a challenge, bodies that are files or iterators, "
        "adapters that you mount; `Attempt.fast_path` tells. False sends everything by it, which takes several "
        "times as long"),
    Option(
        "session_factory", "",
        "makes a worker's session: anything compatible with `requests.Session`. It has `proxies`, `verify` and "
        "`cert` of its own, so those given to the pool are an error", "`requests.Session`'s behaviour"),
    Option("host_key", "", "maps a URL to what per-host budgets are counted by", "its origin"),
    Option("clock", "", "another implementation of time, for tests and simulations", "the real one"),
    Option("transport", "", "another implementation of sending, for tests and simulations", "the real one"),
)

ONLY_JOB = (
    Option("save", "", "the [files that bodies go to](../howto/downloads.md), a `Save`", "they are left out"),
    Option("sources", "", "names of files, or patterns, as for [the command](cli.md#sources), or a database's URL"),
    Option("template", "", "makes the requests of the sources' rows, a `Template`", "rows say their requests"),
    Option("requests", "", "in place of `sources`: an iterable of URLs and `Request`s, or a function that makes one"),
    Option("window", "", "requests in memory at once", "the pool's"),
    Option("note", "", "is called with sentences about what is left out or has changed", "says nothing"),
)

RETRY = (
    Option("attempts", "", "tries in all, the first included: with 4, up to three retries"),
    Option(
        "backoff", "",
        "the upper end, in seconds, of the first wait; each further one doubles it. The wait is drawn evenly from "
        "zero up to that end (\"full jitter\": AWS Architecture Blog, \"Exponential Backoff And Jitter\", 2015), "
        "so the first retry comes within 0.5 s"),
    Option("backoff_max", "", "the longest wait that is drawn, in seconds"),
    Option(
        "total", "",
        "seconds from a request's first send after which it is over: no further attempt begins that could not end "
        "by then, and one under way is ended. None for no limit"),
    Option(
        "retry_after_max", "",
        "the longest `Retry-After`, in seconds, that is waited for. [Beyond "
        "it](../design/decisions/0003-retry-after-beyond-the-cap.md) the request fails at once, with the time in "
        "its error"),
    Option(
        "budget", "", "how many retries there may be beside the first tries, a `RetryBudget`; None for no limit",
        "`RetryBudget()`"),
    Option("statuses", "", "the statuses that are retried", "408 425 429 500 502 503 504"),
    Option(
        "methods", "",
        "the methods that are retried; another one is if its request says `idempotent=True` or carries an "
        "`Idempotency-Key` header", "the idempotent ones of RFC 9110"),
    Option(
        "retry", "",
        "a tenacity strategy of your own in place of `statuses` and `methods`. It sees the `requests.Response`, or "
        "requests' exception, as `retry_state.outcome`", "none"),
    Option("stop", "", "a tenacity strategy of your own in place of `attempts`", "none"),
    Option("wait", "", "a tenacity strategy of your own in place of `backoff`", "none"),
)

SAVE = (
    Option("directory", "", "below which all files are. It is made"),
    Option(
        "name", "",
        "of a body's file there: a template, with `{{host}}`, `{{path}}`, `{{query}}`, `{{name}}`, `{{ext}}`, "
        "`{{key}}`, `{{source}}`, `{{ordinal}}` and `{{sha256}}`; `{{sha256:.2}}` is its first two letters"),
    Option(
        "overwrite", "",
        "replace a file of that name. Otherwise the request ends as `NameTaken`, unless the name has `{{sha256}}` in "
        "it: then a file of it has those bytes"),
    Option(
        "min_speed", "",
        "bytes a second that a body has to bring over `window` seconds, in place of the timeout's total, which ends "
        "with the headers. None bounds silences alone, by the timeout's `read`"),
    Option("window", "", "seconds"),
    Option("max_size", "", "bytes of a body beyond which it fails as `TooLarge`; `max_body` is for those in memory",
           "no limit"),
)

# fmt: on
