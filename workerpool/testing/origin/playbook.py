"""Which reply a request gets: its path's script, then the default, then the built-in paths.

Users' threads set scripts and the default; the origin's thread asks. A script is replaced whole and only its own
position changes, on the origin's thread, so no lock is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from workerpool.testing.origin.paths import EARLY_PREFIX, Paths
from workerpool.testing.origin.replies import Arrival, Replier, Reply


class _Script:
    """The replies to one path: each is given once, the last one ever after."""

    def __init__(self, replies: Sequence[Replier]) -> None:
        self._replies = replies
        self._next = 0

    def peek(self) -> Replier:
        return self._replies[self._next]

    def take(self) -> Replier:
        replier = self.peek()
        self._next = min(self._next + 1, len(self._replies) - 1)
        return replier


class Playbook:
    """Everything that an origin answers from."""

    def __init__(self) -> None:
        self.default: Replier | None = None
        self._scripts: dict[tuple[str | None, str], _Script] = {}
        self._paths = Paths()

    def script(self, path: str, replies: Sequence[Replier], address: str | None) -> None:
        self._scripts[(address, path)] = _Script(replies)

    def reply(self, arrival: Arrival) -> Reply:
        """Return the next reply for `arrival`; a callable that fails becomes a 500 that says how."""
        script = self._script_for(arrival)
        replier = script.take() if script is not None else self.default
        if replier is None:
            return self._paths.reply(arrival)
        if isinstance(replier, Reply):
            return replier
        try:
            return replier(arrival)
        except Exception as error:
            return Reply(status=500, body=f"the scripted callable raised {error!r}\n".encode())

    def answers_early(self, arrival: Arrival) -> bool:
        """Whether the next reply for `arrival` is one that does not wait for the request's body."""
        script = self._script_for(arrival)
        replier = script.peek() if script is not None else self.default
        if replier is None:
            return arrival.path.startswith(EARLY_PREFIX)
        return isinstance(replier, Reply) and replier.early

    def _script_for(self, arrival: Arrival) -> _Script | None:
        """Return the closest script: of the address before any address, with the query before without it."""
        scripts = self._scripts
        if not scripts:
            return None
        path, bare = arrival.path, arrival.path.partition("?")[0]
        for key in ((arrival.address, path), (arrival.address, bare), (None, path), (None, bare)):
            if key in scripts:
                return scripts[key]
        return None
