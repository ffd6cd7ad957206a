"""Which cookies the pool's own requests see. A worker's jar is for its own thread, the shared one for any."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import Cookie
from typing import Any

from requests.cookies import RequestsCookieJar

from workerpool.config import CookieMode


class _SealedJar(RequestsCookieJar):
    """Cookies that are sent and never change: those that a session was set up with."""

    _sealed = False

    def seal(self) -> None:
        self._sealed = True

    def set_cookie(self, cookie: Cookie, *args: Any, **kwargs: Any) -> None:
        if not self._sealed:
            super().set_cookie(cookie, *args, **kwargs)

    def extract_cookies(self, response: Any, request: Any) -> None:
        if not self._sealed:
            super().extract_cookies(response, request)


class _SharedJar(RequestsCookieJar):
    """A jar for all workers: iterating takes a copy under the lock, as a plain jar changes under its readers."""

    def __iter__(self) -> Iterator[Cookie]:  # type: ignore[override]  # requests' stubs say str; it is cookies
        with self._cookies_lock:  # type: ignore[attr-defined]
            return iter([*super().__iter__()])


class CookiePolicy:
    """Which cookies the pool's own requests see, by `CookieMode`. `pool.session` in a callable keeps its own jar."""

    def __init__(self, mode: CookieMode) -> None:
        self._mode = mode
        self._shared = _SharedJar()
        self._local = threading.local()

    def adopt(self, session: Any) -> None:
        """Take note of the cookies that a worker's session was set up with. Called on the worker's thread."""
        cookies = getattr(session, "cookies", None)
        if self._mode == "none":
            jar = _SealedJar()
            jar.update(cookies or {})
            jar.seal()
            self._local.jar = jar
        elif self._mode == "shared" and cookies:
            self._shared.update(cookies)

    def has_any(self, session: Any) -> bool:
        """Whether there may be a cookie for a request of the pool's."""
        return bool(getattr(self._jar(session), "_cookies", True))

    @contextmanager
    def applied(self, session: Any) -> Iterator[None]:
        """Let `session` use the pool's cookies for a moment; its thread is the only one that sees it."""
        if self._mode == "worker":
            yield
            return
        own = session.cookies
        session.cookies = self._jar(session)
        try:
            yield
        finally:
            session.cookies = own

    def _jar(self, session: Any) -> Any:
        if self._mode == "worker":
            return session.cookies
        return self._local.jar if self._mode == "none" else self._shared
