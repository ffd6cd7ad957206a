"""The Session that a worker gets unless the user brings one: requests' own, asking the environment once for each host.

Also what the pool does to any Session: mounting the shared adapter. A Session belongs to one worker thread; an
`Environment` is shared by all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import Any, cast
from urllib.parse import quote

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.cookies import RequestsCookieJar, extract_cookies_to_jar
from requests.sessions import merge_hooks
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies, get_netrc_auth

from workerpool.transport.adapter import SharedAdapter
from workerpool.transport.connection import InvalidHeader, fault_of
from workerpool.transport.governed import GovernedAdapter
from workerpool.transport.lazy import LazyResponse
from workerpool.transport.redirects import confine
from workerpool.transport.trace import taken_off

LEADS_NOWHERE = "leads_nowhere"
"""An attribute of a redirecting response whose ``Location`` is no URL: what is wrong with it."""

HOSTS_REMEMBERED = 10_000
"""Hosts whose answers from the environment are kept: about 2 MB."""


class Environment:
    """What the environment says about a host: its proxies and its netrc login. Asked once a host, by any thread.

    requests asks again on every request, which costs it a third of its time. Later changes of the environment are not
    seen.
    """

    def __init__(self) -> None:
        self._answers: dict[str, tuple[dict[str, str], Any]] = {}  # whole-value writes: no lock needed under the GIL

    def look_up(self, url: str) -> tuple[dict[str, str], Any]:
        """Return the proxies for `url`, as `requests.utils.get_environ_proxies` does, and its netrc login or None."""
        parts = url.split("/", 3)
        site = "/".join(parts[:3])
        answer = self._answers.get(site)
        if answer is None:
            if len(self._answers) >= HOSTS_REMEMBERED:
                self._answers.clear()
            answer = self._answers[site] = (get_environ_proxies(url, no_proxy=None), get_netrc_auth(url))
        return answer


class Session(requests.Session):
    """requests' Session with the environment's answers remembered. For the one thread that it was made for.

    `plans`: how it sends plain requests, where the fast path is on. `rotation`: the proxies that take turns, if any.
    """

    plans: Any = None
    rotation: Any = None

    def __init__(self, environment: Environment | None = None) -> None:
        super().__init__()
        self._environment = environment or Environment()
        self._checked_items: list[Any] = []  # the session's headers when they were last checked
        self._checked_headers: Any = CaseInsensitiveDict()
        self._env_verify = requests.Session.merge_environment_settings(self, "", {}, None, None, None)["verify"]

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """As requests' own, but what was set on the session or the call goes before ``REQUESTS_CA_BUNDLE``."""
        if self.rotation is not None and not proxies:
            proxies = dict(self.rotation.mapping())
        if not self.trust_env:
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        merged = {**self._proxies_of(url, proxies), **self.proxies, **(proxies or {})}
        if verify is None:
            verify = self._env_verify if self.verify is True else self.verify
        return {
            "proxies": {scheme: proxy for scheme, proxy in merged.items() if proxy is not None},
            "stream": self.stream if stream is None else stream,
            "verify": verify,
            "cert": self.cert if cert is None else cert,
        }

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """As requests' own; a request of only a URL and headers takes a third of the time.

        What is wrong with a header is told without its value, which may be a secret.
        """
        try:
            return self._prepared(request)
        except requests.exceptions.InvalidHeader:
            given = {**self.headers, **request.headers}
        fault = InvalidHeader(fault_of(given))
        raise requests.exceptions.InvalidHeader(str(fault)) from fault  # not above: requests' own would be its context

    def _prepared(self, request: requests.Request) -> requests.PreparedRequest:
        if self._is_plain(request):
            return self._prepare_plain(request)
        if not self.trust_env or request.auth or self.auth:
            return super().prepare_request(request)
        with self._asking_nobody():
            prepared = super().prepare_request(request)
        return self._with_login(prepared)

    def get_redirect_target(self, resp: Any) -> str | None:
        """As requests' own, but bytes that are no UTF-8 are percent-encoded, as browsers do, instead of an error."""
        try:
            return super().get_redirect_target(resp)
        except UnicodeDecodeError:
            return quote(resp.headers["location"].encode("latin-1"), safe="!#$%&'()*+,/:;=?@[]~")

    def resolve_redirects(self, resp: Any, req: Any, *args: Any, **kwargs: Any) -> Any:
        """As requests' own. What is only prepared counts for no limit, and where it leads nowhere that is noted."""
        if not kwargs.get("yield_requests"):
            return super().resolve_redirects(resp, req, *args, **kwargs)
        limit, self.max_redirects = self.max_redirects, max(1, self.max_redirects)
        try:
            return iter([*islice(super().resolve_redirects(resp, req, *args, **kwargs), 1)])
        except ValueError as error:
            setattr(resp, LEADS_NOWHERE, str(error))
            return iter(())
        finally:
            self.max_redirects = limit

    def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
        """As requests' own, called for each redirect, and stricter: see `confine`."""
        if self.trust_env:
            with self._asking_nobody():
                super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]
            self._with_login(prepared_request)
        else:
            super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]
        confine(self, prepared_request, response)

    def rebuild_proxies(self, prepared_request: Any, proxies: Any) -> Any:
        """As requests' own, called for each redirect."""
        if not self.trust_env:
            return super().rebuild_proxies(prepared_request, proxies)  # type: ignore[no-untyped-call]
        url = prepared_request.url
        scheme = url.partition(":")[0]
        found = self._proxies_of(url, proxies)
        proxy = found.get(scheme, found.get("all"))
        proxies = {**({scheme: proxy} if proxy else {}), **(proxies or {})}
        with self._asking_nobody():
            return super().rebuild_proxies(prepared_request, proxies)  # type: ignore[no-untyped-call]

    def login_of(self, url: str) -> Any:
        """What netrc says for `url`, as requests has it; None if that is nothing."""
        return self._environment.look_up(url)[1] if self.trust_env else None

    def _proxies_of(self, url: str, given: Any) -> dict[str, str]:
        """The environment's proxies for `url`; `given` ones may name hosts that need none."""
        no_proxy = given and given.get("no_proxy")
        return get_environ_proxies(url, no_proxy) if no_proxy else self._environment.look_up(url)[0]

    @contextmanager
    def _asking_nobody(self) -> Iterator[None]:
        """Keep requests from asking the environment again. This session is only ever used by one thread."""
        trusts, self.trust_env = self.trust_env, False
        try:
            yield
        finally:
            self.trust_env = trusts

    def _is_plain(self, request: requests.Request) -> bool:
        """Whether there is nothing to merge but headers and hooks: no auth, cookies, parameters or body."""
        of_request = request.auth or request.cookies or request.params or request.data or request.files
        of_session = self.auth or self.params or len(self.cookies)
        return not of_request and not of_session and request.json is None and "@" not in str(request.url)

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As requests' own, which reads the body of a redirect that it does not follow."""
        response = super().request(*args, **kwargs)
        trace = taken_off(response)
        if trace is not None and trace.unreadable is not None:
            raise trace.unreadable
        return response

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """As requests' own; the pool's sends are spared work on cookies, hooks and redirects that are not there."""
        is_whole = kwargs.get("stream") is True and kwargs.keys() >= {"proxies", "verify", "cert"}
        if kwargs.get("allow_redirects") is not False or not is_whole or request.hooks.get("response"):
            return super().send(request, **kwargs)
        del kwargs["allow_redirects"]
        began = time.perf_counter()
        response: Any = self.get_adapter(request.url or "").send(request, **kwargs)
        return self.conclude(response, began, **kwargs)

    def conclude(self, response: Any, began: float, **kwargs: Any) -> requests.Response:
        """Note the time since `began`, keep the cookies that came, and prepare the request that a redirect asks for,
        which is to be sent as `kwargs` say.
        """
        if not isinstance(response, LazyResponse):
            response.elapsed = timedelta(seconds=time.perf_counter() - began)
        if "set-cookie" in response.headers:
            extract_cookies_to_jar(self.cookies, response.request, response.raw)  # type: ignore[no-untyped-call]
        if response.is_redirect:
            redirects: Any = self.resolve_redirects(response, response.request, yield_requests=True, **kwargs)
            response._next = next(redirects, None)
        return cast(requests.Response, response)

    def _prepare_plain(self, request: requests.Request) -> requests.PreparedRequest:
        """Take the steps of `requests.PreparedRequest.prepare` that do something for a plain request."""
        hooks = request.hooks
        if any(self.hooks.values()):
            hooks = merge_hooks(request.hooks, self.hooks)  # type: ignore[no-untyped-call]
        prepared: Any = requests.PreparedRequest()
        prepared.prepare_method(request.method)
        prepared.prepare_url(request.url, None)
        prepared.headers = self._merged_headers(request.headers)
        prepared._cookies = RequestsCookieJar()
        prepared.prepare_content_length(None)
        prepared.prepare_hooks(hooks)
        return self._with_login(prepared)

    def _merged_headers(self, more: Any) -> CaseInsensitiveDict[Any]:
        """The session's headers and a request's, checked; without the latter, checked only when they have changed."""
        mine = [*self.headers.items()]
        if not more and mine == self._checked_items:
            return cast("CaseInsensitiveDict[Any]", self._checked_headers.copy())
        merged: CaseInsensitiveDict[Any] = CaseInsensitiveDict(mine)
        merged.update(more or {})
        prepared = requests.PreparedRequest()
        # None takes a header away, as requests has it.
        prepared.prepare_headers({name: value for name, value in merged.items() if value is not None})
        if not more:
            self._checked_items, self._checked_headers = mine, prepared.headers.copy()
        return cast("CaseInsensitiveDict[Any]", prepared.headers)

    def _with_login(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        login = self.login_of(prepared.url or "")
        if login is not None:
            prepared.prepare_auth(login)
        return prepared


def mount(session: Any, adapter: SharedAdapter, govern: Callable[[str, BaseAdapter], BaseAdapter]) -> None:
    """Mount `adapter` for http and https on any requests-compatible session, and `govern` what else is mounted.

    requests' plain HTTPAdapters are replaced, whatever their prefix and their settings: retries and pool sizes are the
    pool's. Adapters of another class were mounted by the user on purpose: they stay, governed, with sockets of their
    own that are outside of the budget.
    """
    if not hasattr(session, "mount"):
        return
    if isinstance(session, requests.Session) and not isinstance(session, Session):
        _confine_redirects(session)
    adapters: dict[str, BaseAdapter] = {"https://": HTTPAdapter(), "http://": HTTPAdapter()}
    adapters.update(getattr(session, "adapters", {}))
    for prefix, mounted in adapters.items():
        if type(mounted) is HTTPAdapter:
            session.mount(prefix, adapter)
        elif not isinstance(mounted, (SharedAdapter, GovernedAdapter)):
            session.mount(prefix, govern(prefix, mounted))


def _confine_redirects(session: Any) -> None:
    """Make a user's own session keep a request's secrets from other origins, as ours does."""
    if "rebuild_auth" in vars(session):
        return
    rebuild_auth = session.rebuild_auth

    def rebuild(following: Any, response: Any) -> None:
        rebuild_auth(following, response)
        confine(session, following, response)

    session.rebuild_auth = rebuild
