"""Every option, declared once: its name in Python and on the command line, what it means, how its text is read.

Types and defaults are in the signatures of `WorkerPool` and `Job`, checks in `checking` and in the values themselves.
The parser and its --help are made of this, and `make docs` writes the tables of docs/reference and the docstring of
`WorkerPool` of it; tests hold its names to the signatures. One table, as long as there are options. Values, any thread.

To add an option: the argument in the signature, its check, a row here, and `make docs`.
"""

from __future__ import annotations

from workerpool.config import UNNOTICED, RetryBudget, RetryPolicy
from workerpool.options.credentials import IS_OPEN, auth, in_turns, proxies_of_file, proxy, with_password
from workerpool.options.option import REQUIRED as REQUIRED
from workerpool.options.option import Option as Option
from workerpool.options.python import ONLY_JOB, ONLY_PYTHON, RETRY, SAVE
from workerpool.options.reading import (
    authorities,
    certificate,
    directory,
    duration,
    duration_or_0,
    fields,
    limit_by,
    none_or_share,
    number,
    number_or_0,
    number_or_auto,
    size,
    speed,
    tries,
)
from workerpool.options.rows import QUERY as QUERY
from workerpool.options.rows import TEMPLATE as TEMPLATE
from workerpool.paging.reading import read_pages

# fmt: off

OUTPUT = (
    Option(
        "output", "-o, --output OUTPUT",
        "a `.jsonl`, `.csv` (`.gz` may follow), `.parquet` or `.sqlite` file, a `postgresql://` or other "
        "database's URL, an object's as `s3://bucket/out.parquet`, or `-` for standard output. "
        "[What each is](outputs.md). A password in a URL may be [named](../howto/credentials.md#where-secrets-are): "
        "`postgresql://me:env:DB_PASSWORD@host/shop`", REQUIRED, read=with_password,
        python="a path, a database's URL, or `\"-\"`; [what each is](outputs.md). Or a function that is called "
        "with lists of records"),
    Option(
        "format", "--format jsonl|csv|parquet|sqlite", "of the output", "as named, jsonl for -",
        python="of the output: `\"jsonl\"`, `\"csv\"`, `\"parquet\"` or `\"sqlite\"`"),
    Option(
        "include", "--include FIELDS", "add to records: body, headers, or body,headers", read=fields,
        python="what to add to records: `\"body\"`, `\"headers\"`, or both"),
    Option("ordered", "--ordered", "write in the source's order", "as answers come"),
    Option("overwrite", "--overwrite", "replace an output that is there", "it is refused"),
)

SCHEMA = (
    Option(
        "schema", "--schema FILE",
        "[a schema](../howto/schemas.md) in TOML or JSON: answers become its typed rows, and what does not fit is "
        "rejected with its reason. Its columns take the place of a record's fields", "records",
        python="[a schema](../howto/schemas.md), or the name of its file: answers become its typed rows, and what does "
        "not fit is rejected with its reason"),
    Option(
        "upsert", "--upsert",
        "put rows into the table that is there, each in place of the one with the same key. The key is the schema's; "
        "for databases", "the table is written anew"),
    Option(
        "rejects", "--rejects FILE",
        "where what was rejected goes. By default it is beside the output, or in the job's directory if that is no "
        "file", "OUTPUT.rejects.jsonl"),
)

BODIES = (
    Option(
        "", "--bodies DIR",
        "write [each body to a file](../howto/downloads.md) below DIR. The record has `file` and `sha256`; a body that "
        "breaks off is gone on with", "they are left out", read=directory, to="save.directory"),
    Option(
        "", "--body-name NAME",
        "of these files, made of {{host}}, {{path}}, {{query}}, {{name}}, {{ext}}, {{key}}, {{source}}, {{ordinal}}, "
        "{{sha256}}. `{{sha256:.2}}` is its first two letters. Of two inputs with one name the second is not sent",
        "{sha256:.2}/{sha256}", to="save.name"),
    Option(
        "", "--min-speed SPEED",
        "10KB/s: what such a body has to bring over 30 s, or none. In place of `{timeout}`, which ends with the "
        "headers; what is slower is tried again from where it was", "1KB/s", read=speed, to="save.min_speed"),
    Option("", "--max-file SIZE", "of such a body: 10GB; what is larger fails as `TooLarge`", "no limit", read=size,
           to="save.max_size"),
)

INPUT_FORMAT = Option(
    "input_format", "--input-format txt|csv|jsonl|parquet", "of all sources", "as named, txt for -",
    python="of all sources: `\"txt\"`, `\"csv\"`, `\"jsonl\"` or `\"parquet\"`")
DEDUPE = Option(
    "dedupe", "--dedupe",
    "fetch a URL that several inputs name [once](../howto/jobs.md#fetching-once-what-several-inputs-name), and "
    "answer them all. With or without a job")

JOB = (
    Option(
        "directory", "--job DIR",
        "keep what was done there, so that the same command goes on with it. After a finished run it begins the "
        "next one", "nothing is kept", read=directory, python="where its state is kept"),
    Option(
        "retry_failed", "--retry-failed",
        "after a finished run, fetch only what has failed in it. The other records stay"),
    Option("retry_rounds", "--retry-rounds N", "rounds at the end for failures that may be tried again", "0",
           read=number_or_0),
    Option("restart", "--restart", "give up an unfinished run, and begin anew"),
    Option(
        "wait_lock", "--wait-lock S",
        "seconds, or 10m, to wait for another run of the job. When they are over, the exit code is 3", "0",
        read=duration_or_0, python="seconds to wait for another run of the job"),
    Option(
        "skip_recent", "--skip-recent AGE", "do not fetch what was ok within 90s, 12h, 24h. Its record says `skipped`",
        "fetch all", read=duration,
        python="do not fetch what was ok within so many seconds. Its record says `skipped`"),
    Option(
        "conditional", "--conditional",
        "ask servers only for what has changed since the last run. It asks by `If-None-Match` and `If-Modified-Since`",
        "unless bodies are included, or go to files, or a schema is given"),
    Option("", "--no-conditional", "ask servers for everything", value=False, to="conditional"),
    Option(
        "only_changed", "--only-changed",
        "leave out of the output what has not changed since the last run. These are the records that would say "
        "`unchanged` or `skipped`"),
    Option(
        "unique_keys", "--unique-keys",
        "refuse an input whose key another one had before, unsent. Its key is its URL, if it has none; the failed "
        "record names both places"),
    Option("idempotency_keys", "--idempotency-keys",
           "send an `Idempotency-Key` with POST and PATCH, the same after a crash, and so retry them"),
    Option(
        "at_least_once", "--at-least-once", "allow standard output, where a crash may repeat some records",
        python="take an output that cannot be told what it has already, standard output or a function: a crash may "
        "repeat some records there"),
)

PAGES = (
    Option(
        "pages", "--pages HOW",
        "fetch the [pages](../howto/pages.md) that follow each input, a record each: link (the header), next:PATH (a "
        "URL), cursor:PARAM=PATH, page:PARAM=ITEMS or offset:PARAM=ITEMS. PATH and ITEMS say where in a page's JSON "
        "the URL, the cursor or the list of items is, in [JMESPath](https://jmespath.org/); PARAM is the parameter "
        "that says which page. Expressions that are more than names with dots need the extra `[etl]`",
        "one request each",
        read=read_pages,
        python="how the [pages](../howto/pages.md) of an input follow each other, a record each: `LinkHeader()`, "
        "`NextLink(path)`, `Cursor(path)`, `PageNumber()` or `Offset()`, from `workerpool.paging`"),
    Option("", "--max-pages N", "pages of one input at which to end", "10,000, and more is an error", read=number,
           to="max_pages"),
)

BUDGETS = (
    Option(
        "rate", "--rate RATE",
        "sends in all, retries and redirects included: 50/s, 100/min, 30/5min, 10/s and 1000/h, or auto, which "
        "[finds out](../howto/limits.md) what each host takes. It does so from refusals (429, 503), and ahead of "
        "them from rate-limit headers", "no limit",
        python="sends a second in all, retries and redirects included: `\"50/s\"`, `\"100/min\"`, `\"10/s and "
        "1000/h\"`, a number, a `Rate`. `\"auto\"` [finds out](../howto/limits.md) what each host takes, up "
        "to `host_rate`: from its refusals (429, 503), and ahead of them from its rate-limit headers"),
    Option(
        "host_rate", "--host-rate RATE",
        "the same for each host; with `{rate}` auto, at most that. By itself, auto is `{rate}` auto without an "
        "upper end", "no limit",
        python="the same for each host by itself. `\"auto\"` is that of `rate`, without an upper end"),
    Option("key_rate", "--key-rate RATE", "the same for each key of `{limit_by}`, over all hosts", "no limit"),
    Option(
        "limit_by", "--limit-by KEY",
        "what `{key_rate}` counts by: domain (example.co.uk; the extra `[crawl]`), or header:NAME (header:X-Api-Key)",
        read=limit_by,
        python="what `key_rate` counts by: a function of a `Request` that returns its key, or None for a request "
        "that is not to count, such as `registered_domain`; or the name of a header whose value is the key"),
    Option("burst", "--burst N", "sends at once after a rest. At 1 they are evenly spaced", read=number),
    Option("slow_start", "--slow-start",
           "begin with one request at a time at each host. It sends one more at a time after each round of them"),
    Option(
        "max_connections", "--connections N",
        "open sockets in all, or auto: find out for each host. Idle ones count; the default is at most half of the "
        "files that the process may open. Auto is auto as `{host_connections}`; any number there but the default's is "
        "then the most that is found out", "64, or twice the workers", read=number_or_auto,
        python="sockets open at once, idle ones included; the default is at most half of the files that the process "
        "may open. "
        "`\"auto\"` is None, with that of `host_connections`; a number there, other than the default, is "
        "then the most that is found out"),
    Option(
        "host_connections", "--host-connections N",
        "open sockets to one host, or auto. Auto finds out how many make it faster, from its latency and its "
        "refusals; at most one for each worker", read=number_or_auto,
        python="sockets open at once to one host; 6, as browsers do, is polite. `\"auto\"` finds out how many make "
        "each host faster, from its latency and its refusals; at most as many as there are workers"),
)

WORKERS = Option(
    "max_workers", "--workers N", "requests in flight at once", read=number,
    python="threads, each with a `requests.Session` of its own. None is what `ThreadPoolExecutor` takes")

SHARED = Option(
    "budget", "--budget NAME",
    "share these limits, and pauses, with [every other program](../howto/shared-budget.md) of yours on this "
    "machine that gives the same name; of different limits the strictest holds. Needs Linux",
    python="the name of a [budget that is shared](../howto/shared-budget.md) with every other pool of yours on this "
    "machine that names it, whatever process it is in: together they keep to `rate`, `host_rate`, `burst`, "
    "`max_connections` and `host_connections`, of each to the strictest that any of them was told, and to each "
    "host's pauses. Or the `Path` of its file. Needs Linux")

REDIS = Option(
    "redis", "--redis URL",
    "keep the budget of that name in [Redis or Valkey](../howto/redis.md), for programs on any machine that give both. "
    "redis://, rediss:// or unix://; `env:NAME`, `file:PATH` and `keyring:SERVICE/USER` name where the URL, or the "
    "password in it, is. Needs `{budget}` and the extra `[redis]`",
    python="the URL of a [Redis or Valkey](../howto/redis.md) that keeps the budget of that name, for pools on any "
    "machine that give both: redis://, rediss:// or unix://. `env:NAME`, `file:PATH` and `keyring:SERVICE/USER` name "
    "where the URL, or the password in it, is. Needs `budget` and the extra `[redis]`")

PROCESSES = Option(
    "", "--processes N",
    "that share the work, [by host](../howto/speed.md#more-cores). The other numbers are for all of them together",
    "1", read=number, to="processes")

CLUSTER = Option(
    "", "--cluster WHERE",
    "run it on [a Dask cluster](../howto/cluster.md): local[N], N processes of this machine, or the address of a "
    "scheduler, as tcp://10.0.0.5:8786. `{max_workers}` is then for each of its workers. Needs the extra `[cluster]`",
    "this process", to="cluster")

FAILING = (
    Option(
        "", "--retries N", "tries after the first", f"{RetryPolicy().attempts - 1}", read=tries, to="retry.attempts"),
    Option(
        "", "--retry-budget SHARE",
        "retries beside first tries in the long run, or none for no limit. A share is 20% or 0.2; what is beyond "
        "that [waits](../howto/retries.md)",
        f"{RetryBudget().share:.0%}, and every retry of the first {UNNOTICED:,} requests", read=none_or_share,
        to="retry.budget"),
    Option("", "--breaker N", "leave a host alone for a while after N failures in a row", "never", read=number,
           to="breaker.failures"),
    Option("", "--fail-fast", "with `{breaker.failures}`: end its requests unsent meanwhile", "they wait",
           to="breaker.fails_fast"),
)

EACH = (
    Option(
        "timeout", "--timeout S",
        "seconds for each try in all. Or 90s, 10m; redirects are included, waits for its turn are not", read=duration,
        python="seconds that an attempt may take in all, redirects included, waits for its turn excluded; or a "
        "pair as in requests, for connecting and for each wait for data, without a total; or a `Timeout`, "
        "which has all three"),
    Option(
        "max_body", "--max-body SIZE", "of an answer, decompressed. 64KiB, 10MB: what is larger fails as `TooLarge`",
        "1GiB", read=size,
        python="bytes of an answer, decompressed, beyond which it fails as `TooLarge`; None is no limit. Responses "
        "that you stream yourself are not bounded"),
)

DEADLINE = Option("", "--deadline DURATION", "90s, 10m, 1h30m: when to finish what is being sent and stop", "never",
                  read=duration, to="deadline")

TRUST = (
    Option(
        "", "--ca-bundle FILE",
        "the authorities to trust, in PEM, in place of the usual. A file, or a directory of them", read=authorities,
        to="verify"),
    Option("", "--insecure", "accept any certificate", value=False, to="verify"),
    Option(
        "", "--proxy URL",
        "go through this proxy, or [in turns](../howto/proxies.md) through several. It speaks http, https, or with the "
        "extra `[socks]` socks5 or socks5h. `env:NAME`, `file:PATH` and `keyring:SERVICE/USER` name where its URL is",
        "as the environment says", read=proxy, to="proxies", many=True, gather=in_turns),
)

REACH = (
    Option(
        "", "--proxies FILE", "go through the proxies of a file in turns, a URL a line", read=proxies_of_file,
        to="proxies"),
    Option(
        "auth", "--auth HOW",
        "who sends: basic:USER:SECRET, bearer:SECRET, or oauth2:FILE for [tokens that end](../howto/credentials.md). "
        "SECRET is `env:NAME`, `file:PATH`, `keyring:SERVICE/USER` (the extra `[keyring]`) or `netrc:HOST`; said "
        "itself, it works, but everybody on the machine can read it in the list of processes", "netrc's", read=auth,
        python="how requests without an auth of their own say who sends them: as in requests, a pair `(user, "
        "password)` or an auth object; or a [source of tokens](../howto/credentials.md), a `BearerToken` or "
        "`ClientCredentials`"),
    Option(
        "", "--cert FILE", "a certificate of your own and its key, in PEM, for servers that ask for one",
        read=certificate, to="cert"),
    Option(
        "allow_hosts", "--allow-host HOST",
        "go nowhere else, redirects included: `example.com`, `*.example.com`, `example.com:8443`. The second is "
        "not `example.com` itself", many=True,
        python="the only hosts that requests, redirects included, may go to: `\"example.com\"`, "
        "`\"*.example.com\"` (not `example.com` itself), `\"example.com:8443\"`"),
    Option(
        "deny_private", "--deny-private",
        "refuse private, loopback and other addresses that are not public. Whatever name leads there, they are not "
        "connected to"),
    Option("trust_proxy", "--trust-proxy",
           "with `{deny_private}`: leave that to the proxy that is gone through. Else a proxy is an error"),
    Option(
        "trace", "--trace",
        "make [spans of OpenTelemetry](../howto/tracing.md) for requests and their attempts, and send the trace's "
        "context along; the program is to be run by opentelemetry-instrument. Needs the extra `[otel]`", "none",
        python="make [spans of OpenTelemetry](../howto/tracing.md) for requests and their attempts, and send the "
        "trace's context along: True for the program's own tracer provider, or another one. Needs the extra `[otel]`"),
    Option(
        "robots", "--robots",
        "obey each site's [robots.txt](../howto/crawl.md) and its Crawl-delay; needs `{contact}`. What it does not "
        "allow ends as `RobotsDisallowed`, unsent. Needs the extra `[crawl]`"),
    Option(
        "contact", "--contact ADDRESS",
        "a page or a mail address for the `User-Agent`, so that a site's owner can ask you. It goes into that of "
        "requests that bring none: `workerpool/0.1 (+ADDRESS)`"),
    Option(
        "", "--no-fast-path",
        "send all by requests' own code, to find out what is [the fast path](../design/fast-path.md)'s doing. It "
        "takes several times as long", value=False, to="fast_path"),
)

MESSAGES = (
    Option("", "--quiet", "say nothing but errors", to="quiet"),
    Option("", "--no-progress", "no progress, but the summary at the end", to="no_progress"),
    Option(
        "", "--log-format console|json", "log events to stderr; json: and nothing else there", to="log_format"),
    Option(
        "", "--metrics [HOST:]PORT",
        "serve [metrics](metrics.md) to Prometheus while it runs: on this machine alone, on HOST, or as :PORT on all "
        "its addresses", to="metrics"),
    Option(
        "", "--metrics-file FILE",
        "write them to FILE every 15 s and at the end, for the node exporter's textfile collector", to="metrics_file"),
)

AS_JSON = Option("", "--json", "write one JSON object in place of text", to="as_json")

PLAN = (
    INPUT_FORMAT,
    QUERY,
    *(option for option in TEMPLATE if option.target in ("url", "method", "headers", "optional")),
    Option(
        "", "--from PATH",
        "the job's directory, or the output, of an earlier run: simulate with its timings. Without it, the least "
        "time that each budget leaves is said; without sources, those of the job are planned", to="records",
        read=with_password),
    Option("", "--latency DURATION", "that an answer is assumed to take, without `{records}`", "200ms", read=duration,
           to="latency"),
    Option("", "--compare OPTIONS",
           "other budgets to compare with: those said, changed by OPTIONS, as in \"--workers 32\"",
           many=True, to="compare"),
    AS_JSON,
)

DOCTOR = (
    AS_JSON,
    Option("", "--timeout S", "seconds for each request", "30", read=duration, to="timeout"),
    Option("", "--patience S", "seconds to leave a connection idle to see when the server closes it; 0: do not", "10",
           read=duration_or_0, to="patience"),
    *TRUST,
)

RECONCILE = (
    Option("", "-o, --output OUTPUT",
           "the job's output once more, needed only for a URL with a password, which no job keeps", to="output",
           read=with_password),
    AS_JSON,
)

TOP = (
    Option("", "--once", "say how it is now, in a line, and end", to="once"),
)

REPORT = (
    Option("", "-o, --output FILE",
           "where the report goes; its ending, `.html`, `.md` or `.json`, says what it is. By default, to standard "
           "output", to="output"),
    Option("", "--format html|md|json", "of the report", "as named, md for standard output", to="format"),
    Option("", "--against PATH",
           "another job's directory, or an output, to compare with; by default, the job's run before this one",
           to="against", read=with_password),
)

INFER = (
    Option("", "-o, --output FILE", "where the schema goes; by default, to standard output", to="output"),
)

# fmt: on

LIMITS = (*BUDGETS, WORKERS)
"""How much may be sent; a plan has these, and `FAILING`."""

POOL = (*LIMITS, SHARED, REDIS, *FAILING, *EACH, *TRUST, *REACH)
"""What goes into a pool's arguments."""

SECRETS = tuple(option for option in (*OUTPUT, *TEMPLATE, *POOL) if option.word in IS_OPEN)
"""Those that may hold a secret, so that it is better named than said."""

IN_PYTHON = {
    "WorkerPool": (*POOL, *ONLY_PYTHON),
    "RetryPolicy": RETRY,
    "Save": SAVE,
    "Template": TEMPLATE,
    "Job": (*OUTPUT, *SCHEMA, INPUT_FORMAT, QUERY, DEDUPE, PAGES[0], *JOB, *ONLY_JOB),
}
"""Where each argument is declared."""

ALL = tuple(
    option
    for option in (
        *(
            *OUTPUT,
            *SCHEMA,
            *BODIES,
            INPUT_FORMAT,
            QUERY,
            *TEMPLATE,
            DEDUPE,
            *PAGES,
            *JOB,
            *POOL,
            PROCESSES,
            CLUSTER,
            DEADLINE,
            *MESSAGES,
            *PLAN,
            *DOCTOR,
            *TOP,
            *REPORT,
        ),
    )
    if option.flag
)
"""All that have a flag."""
