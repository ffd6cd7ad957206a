"""The exit codes of all commands; those of a run that a signal has ended are in `signals`."""

OK, FAILED, USAGE, HELD, AT_DEADLINE, NOT_WRITTEN, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
"""`FAILED`: it was done, and something is not well: a request, a proof, a server without an answer."""
