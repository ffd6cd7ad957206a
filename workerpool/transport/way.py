"""How requests goes to a server: what it verifies, what it shows, and by which proxy. Immutable, any thread."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple


class Way(NamedTuple):
    """requests' settings of these names, each in one form, so that connections can be looked up by them."""

    verify: bool | str
    cert: str | tuple[str, str] | None
    proxies: Mapping[str, str] | None

    @classmethod
    def of(cls, *, verify: Any, cert: Any, proxies: Any, **_: Any) -> Way:
        """Read what requests takes; more settings than these may be given.

        requests takes 0 for False and a `Path`, too, but keeps their connections under the key of True: after one
        request that verifies nothing, others that should would go over its connection.
        """
        if not isinstance(verify, (bool, str)):
            verify = os.fspath(verify) if isinstance(verify, os.PathLike) else bool(verify)
        return cls(verify or False, tuple(cert) if isinstance(cert, list) else cert, proxies)
