"""The pool beside its peers, in one run: `make bench`, or

    python -m benchmarks.side_by_side [--cases NAMES] [--clients NAMES] [--rounds N] [--seconds S] [--instructions]

**What is fetched.** nginx with one worker process, on loopback, over HTTP and HTTPS (an authority of our own, which
every client verifies with); for the 50 ms, a server of ours (`delaying.py`), as Debian's small nginx cannot wait.
Connections are kept, HTTP is 1.1. No two URLs of a client are equal (a query that the server ignores), so that nobody
gains by remembering the last one. Everybody reads whole bodies and looks at each status and length.

**How it is timed.** Every library runs in a fresh process of its own, so that no client pays for another one's memory,
threads or event loop; only one is given something to do at a time. Clients take turns, in an order that moves on each
round, so that a slow minute of the machine hits them all. A turn is as many requests as this client does in about
`--seconds`, found out beforehand, since a short turn of a fast client is noisier than a long one of a slow client; it
begins with some requests off the clock, which make or renew connections. CPU is the client's process alone, all
threads. A figure is the median of the rounds, a ratio the median of the ratios within a round.

**With which settings.** Each peer's recommended ones, given beside it in `clients.py` and `commands.py`; ours are the
defaults with both socket budgets set to the number of requests at once. Command lines are timed from start to exit,
interpreter included. Where a peer is not installed, the table says so.

**How it is laid out.** `cases.py` says what is measured, `servers.py` serves it, `clients.py` and `commands.py` fetch
it, `turns.py` and `launcher.py` time one turn of one of them, `measuring.py` lets them take turns. `results.py` is what
came out, `targets.py` what should, and `table.py`, `plot.py` and `page.py` show it. `instructions.py` counts what a
noisy machine cannot: instructions, by valgrind.
"""
