"""Sources of tokens, and secrets that are named: what they take, whom they are for, and that none of them is shown."""

from __future__ import annotations

import os
import pickle
import stat
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from workerpool import OptionError
from workerpool.batch.template.settings import settings_of
from workerpool.cli.arguments import RunSettings, parse
from workerpool.cli.looking_arguments import LookSettings
from workerpool.cli.plan_arguments import PlanSettings
from workerpool.cli.report_arguments import ReportSettings
from workerpool.credentials import BearerToken, ClientCredentials, Token, secret_of
from workerpool.proxies import ProxyList
from workerpool.testing import Origin

URL = "https://login.test/token"


# -- sources --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "url", "covers"),
    [
        ("api.test", "https://api.test/x", True),
        ("api.test", "https://API.test:8443", True),
        ("API.test", "https://api.test", True),
        ("api.test:8443", "https://api.test:8443/", True),
        ("api.test:8443", "https://api.test/", False),
        ("api.test:443", "https://api.test/", True),
        ("api.test:443", "http://api.test/", False),
        ("api.test", "https://www.api.test/", False),
        ("*.api.test", "https://www.api.test/", True),
        ("*.api.test", "https://api.test/", False),
        ("*.api.test", "https://evilapi.test/", False),
        ("api.test", "https://api.test.evil.test/", False),
        ("api.test", "https://evil.test\\@api.test/", False),
        ("api.test", "https://evil.test/@api.test/", False),
        ("api.test", "https://me@api.test/", False),
        ("api.test", "ftp://api.test/", False),
        ("[::1]", "http://[::1]:80/", True),
        ("[::1]:81", "http://[::1]:80/", False),
    ],
)
def test_a_token_is_for_the_hosts_that_it_names(pattern: str, url: str, covers: bool) -> None:
    assert BearerToken("abc", hosts=(pattern,)).covers(url) is covers
    assert BearerToken("abc").covers(url)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BearerToken(5),  # type: ignore[arg-type]
        lambda: BearerToken("two words"),
        lambda: BearerToken("abc", hosts="api.test"),  # type: ignore[arg-type]
        lambda: BearerToken("abc", hosts=("https://api.test",)),
        lambda: Token(""),
        lambda: Token("a\r\nX: y"),
        lambda: Token("hunter2", float("nan")),
        lambda: ClientCredentials("login.test", "me", "hunter2"),
        lambda: ClientCredentials(URL, "", "hunter2"),
        lambda: ClientCredentials(URL, "me", ""),
        lambda: ClientCredentials(URL, "me", "hunter2", in_body=1),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_source_is_refused_in_a_sentence_without_secrets(make: Any) -> None:
    with pytest.raises(OptionError, match=r"must|names no host|starts with|takes|is no host") as caught:
        make()
    assert "hunter2" not in str(caught.value)


def test_sources_go_to_other_processes_and_show_no_secret() -> None:
    source = ClientCredentials(URL, "me", "hunter2", more={"resource": "r"}, hosts=("a.test",))
    assert pickle.loads(pickle.dumps(source)) == source
    assert hash(source) == hash(pickle.loads(pickle.dumps(source)))
    assert "hunter2" not in repr(source) + repr(Token("hunter2", 5)) + repr(BearerToken("hunter2"))


# -- references -----------------------------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each place where a secret may be, with one in it."""
    monkeypatch.setenv("API_TOKEN", "from-the-environment")
    (tmp_path / "secret").write_text("from a file\n")
    (tmp_path / "netrc").write_text("machine api.test login me password fromnetrc\n")
    (tmp_path / "netrc").chmod(stat.S_IRUSR | stat.S_IWUSR)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    keyring = types.ModuleType("keyring")
    kept = {("a/service", "me"): "from the keyring"}
    keyring.get_password = lambda service, user: kept.get((service, user))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    return tmp_path


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize(
    ("said", "secret"),
    [
        ("env:API_TOKEN", "from-the-environment"),
        ("file:~/secret", "from a file"),
        ("keyring:a/service/me", "from the keyring"),
        ("netrc:api.test", "fromnetrc"),
        ("text:env:API_TOKEN", "env:API_TOKEN"),
        ("plain", "plain"),
        ("a:b", "a:b"),
    ],
)
def test_a_secret_is_where_it_is_said_to_be(said: str, secret: str) -> None:
    assert secret_of(said, "--auth") == secret


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("env:", "names no secret"),
        ("env:NOT_THERE", "the environment has no NOT_THERE"),
        ("env:EMPTY", "is empty"),
        ("file:~/not there", "cannot be read: no such file"),
        ("file:~", "is a directory"),
        ("file:~/two", "more than one line"),
        ("file:~/binary", "no text in UTF-8"),
        ("keyring:service", "write keyring:SERVICE/USER"),
        ("keyring:service/you", "the keyring has none"),
        ("netrc:b.test", "has no password for b.test"),
    ],
)
def test_a_secret_that_is_not_there_is_told_of_by_its_name(
    said: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMPTY", "")
    home = Path(os.environ["HOME"])
    (home / "two").write_text("hunter2\nhunter3\n")
    (home / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(OptionError) as caught:
        secret_of(said, "--auth")
    text = str(caught.value)
    assert text.startswith(f"--auth='{said}'")
    assert why in text
    assert "hunter" not in text


def test_without_the_library_a_keyring_is_missed_with_what_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(OptionError, match=r"needs keyring.*\[keyring\]"):
        secret_of("keyring:service/me", "--auth")


# -- the command line -----------------------------------------------------------------------------------------------


TEMPLATE = ("--template", "https://a.test/{id}")


def settings(*words: str) -> RunSettings:
    found = parse(["run", "urls.txt", "-o", "out.jsonl", *words])
    assert isinstance(found, RunSettings)
    return found


@pytest.mark.usefixtures("places")
def test_the_command_line_says_who_sends() -> None:
    assert settings("--auth", "basic:me:env:API_TOKEN").options.auth == ("me", "from-the-environment")
    assert settings("--auth", "bearer:netrc:api.test").options.auth == BearerToken("fromnetrc")
    assert settings().options.auth is None


def test_a_file_says_where_tokens_come_from(places: Path) -> None:
    login = places / "login.toml"
    login.write_text(
        f'token_url = "{URL}"\nclient_id = "me"\nclient_secret = "env:API_TOKEN"\nscope = "read"\n'
        'in_body = true\nhosts = ["api.test"]\n[more]\nresource = "r"\n'
    )
    source = settings("--auth", f"oauth2:{login}").options.auth
    assert source == ClientCredentials(
        URL, "me", "from-the-environment", scope="read", in_body=True, hosts=("api.test",), more={"resource": "r"}
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("token_url =", "is no TOML"),
        ('token_uri = "x"', "token_uri is unknown"),
        ("scope = 5", "scope must be a text in quotes"),
        ('client_secret = "hunter2"', "lacks token_url and client_id"),
        ('token_url = "x"\nclient_id = "me"\nclient_secret = "hunter2"', "token_url='x'"),
        (f'token_url = "{URL}"\nclient_id = "me"\nclient_secret = "env:NOT_THERE"', "client_secret='env:NOT_THERE'"),
    ],
)
def test_a_file_that_does_not_is_refused_by_name(places: Path, text: str, why: str) -> None:
    login = places / "login.toml"
    login.write_text(text)
    with pytest.raises(OptionError) as caught:
        settings("--auth", f"oauth2:{login}")
    assert why in str(caught.value)
    assert str(login) in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "said", ["hunter2", "basic:hunter2", "basic:me:", "bearer:", "bearer:two hunter2", "oauth2:", "digest:hunter2:x"]
)
def test_an_auth_that_is_not_understood_is_not_shown(said: str) -> None:
    with pytest.raises(OptionError, match=r"^--auth") as caught:
        settings("--auth", said)
    assert "hunter2" not in str(caught.value)


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize(
    ("words", "warned"),
    [
        (("--auth", "basic:me:hunter2"), True),
        (("--auth", "bearer:hunter2"), True),
        (("--auth", "bearer:text:hunter2"), True),
        (("--auth", "bearer:env:API_TOKEN"), False),
        (("--proxy", "http://me:hunter2@a.test:3128"), True),
        (("--proxy", "http://a.test:3128", "--proxy", "http://me:hunter2@b.test:3128"), True),
        (("--proxy", "http://a.test:3128"), False),
        (("--output", "postgresql://me:hunter2@db.test/shop"), True),
        (("--output", "postgresql://me:env:API_TOKEN@db.test/shop"), False),
        (("--output", "postgresql://me@db.test/shop"), False),
        (("--redis", "redis://:hunter2@db.test/0", "--budget", "shop"), True),
        (("--redis", "rediss://me:hunter2@db.test/0", "--budget", "shop"), True),
        (("--redis", "redis://:env:API_TOKEN@db.test/0", "--budget", "shop"), False),
        (("--redis", "redis://db.test/0", "--budget", "shop"), False),
        (("--header", "X-Api-Key: hunter2", *TEMPLATE), True),
        (("--header", "Authorization: Bearer hunter2", *TEMPLATE), True),
        (("--header", "Authorization: Bearer env:API_TOKEN", *TEMPLATE), False),
        (("--header", "Authorization: Bearer {token}", *TEMPLATE), False),
        (("--header", "Accept: text/plain", *TEMPLATE), False),
    ],
)
def test_a_secret_on_the_command_line_is_warned_of(words: tuple[str, ...], warned: bool) -> None:
    found = settings(*words)
    assert [words[0] in warning for warning in found.warnings] == [True] * warned
    assert "hunter2" not in repr(found) + " ".join(found.warnings)


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("X-Shop: env:API_TOKEN", "from-the-environment"),
        ("X-Shop:file:~/secret", "from a file"),
        ("Authorization: Bearer keyring:a/service/me", "Bearer from the keyring"),
        ("X-Shop: file:~/braces", "{id}"),
        ("X-Shop: text:env:API_TOKEN", "env:API_TOKEN"),
        ("X-Shop: Bearer text:env:API_TOKEN", "Bearer env:API_TOKEN"),
        ("X-Shop: text:plain", "text:plain"),
        ("X-Shop: one two env:API_TOKEN", "one two env:API_TOKEN"),
        ("Referer: https://a.test/{id}", "https://a.test/7"),
    ],
)
def test_a_header_has_the_secret_that_it_names(places: Path, said: str, sent: str) -> None:
    (places / "braces").write_text("{id}")
    template = settings("--header", said, *TEMPLATE).template
    assert template is not None
    assert list((template.request({"id": 7}).headers or {}).values()) == [sent]


@pytest.mark.usefixtures("places")
def test_what_a_header_names_is_kept_by_no_job_and_shown_by_nobody() -> None:
    found = settings("--header", "X-Shop: env:API_TOKEN", *TEMPLATE)
    assert settings_of(found.template)["--header"] == ["X-Shop: ***"]
    assert found.template is not None
    assert "from-the-environment" not in repr(found) + repr(found.template) + repr(found.template.headers)


def test_a_header_whose_secret_is_not_there_is_told_of_by_its_name() -> None:
    with pytest.raises(OptionError, match=r"^--header X-Shop='env:NOT_THERE': the environment has no NOT_THERE"):
        settings("--header", "X-Shop: env:NOT_THERE", *TEMPLATE)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("postgresql://me:env:ODD@db.test/shop?table=a", "postgresql://me:h%40%2F%3A%25%20unter2@db.test/shop?table=a"),
        ("mysql+pymysql://me:file:~/a%40b@db.test:3306/shop", "mysql+pymysql://me:fromafile@db.test:3306/shop"),
        ("postgresql://me:env%3AODD@db.test/shop", "postgresql://me:env%3AODD@db.test/shop"),
        ("postgresql://me:hunter2@db.test/shop", "postgresql://me:hunter2@db.test/shop"),
        ("out.jsonl", "out.jsonl"),
    ],
)
def test_a_url_has_the_password_that_it_names(
    places: Path, monkeypatch: pytest.MonkeyPatch, said: str, meant: str
) -> None:
    monkeypatch.setenv("ODD", "h@/:% unter2")
    (places / "a@b").write_text("fromafile")
    found = parse(["run", said, "--query", "select 1", "-o", said, "--job", "a.job"])
    assert isinstance(found, RunSettings)
    assert (found.sources, found.output) == ((meant,), meant)
    assert "unter2" not in repr(found)
    looked = parse(["reconcile", "a.job", "-o", said])
    assert isinstance(looked, LookSettings)
    assert looked.output == meant
    planned = parse(["plan", said, "--query", "select 1", "--from", said])
    assert isinstance(planned, PlanSettings)
    assert (planned.sources, planned.records) == ((meant,), meant)
    reported = parse(["report", said, "--against", said])
    assert isinstance(reported, ReportSettings)
    assert (reported.path, reported.against) == (meant, meant)
    assert "unter2" not in repr(planned) + repr(reported)


NOT_THERE = "postgresql://me:env:NOT_THERE@db.test/shop"


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("run", "a.txt", "-o", NOT_THERE), "--output"),
        (("run", NOT_THERE, "-o", "out.jsonl", "--query", "select 1"), "SOURCE"),
        (("plan", NOT_THERE, "--query", "select 1"), "SOURCE"),
        (("plan", "a.txt", "--from", NOT_THERE), "--from"),
        (("report", NOT_THERE), "PATH"),
        (("report", "a.job", "--against", NOT_THERE), "--against"),
    ],
)
def test_a_password_that_is_not_there_is_told_of_by_its_name(words: tuple[str, ...], place: str) -> None:
    with pytest.raises(OptionError, match=rf"^the password in {place}='env:NOT_THERE': the environment has no"):
        parse(words)


@pytest.mark.usefixtures("places")
def test_proxies_are_said_by_flags_by_a_file_and_by_reference(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = "http://me:hunter2@a.test:3128", "http://b.test:3128"
    monkeypatch.setenv("PROXY_URL", one)
    (places / "proxies.txt").write_text(f"# ours\n{one}\n\n{two}\n")
    assert settings("--proxy", "env:PROXY_URL").options.proxies == {"http": one, "https": one}
    assert settings("--proxy", one, "--proxy", two).options.proxies == ProxyList([one, two])
    assert settings("--proxies", str(places / "proxies.txt")).options.proxies == ProxyList([one, two])
    (places / "bad.txt").write_text(f"{two}\nme:hunter2@a.test\n")
    monkeypatch.setenv("PROXY_URL", "hunter2")
    for words in (("--proxies", str(places / "bad.txt")), ("--proxy", "env:PROXY_URL"), ("--proxy", "hunter2:x@y")):
        with pytest.raises(OptionError) as caught:
            settings(*words)
        assert "hunter2" not in str(caught.value), words
    with pytest.raises(OptionError, match=r"bad\.txt:2="):
        settings("--proxies", str(places / "bad.txt"))


def test_a_run_with_a_bearer_token_sends_it_and_writes_it_nowhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from workerpool.cli import main

    monkeypatch.setenv("API_TOKEN", "sekrit99")
    with Origin() as server:
        (tmp_path / "urls.txt").write_text(server.url("/bytes/1") + "\n")
        words = ["run", str(tmp_path / "urls.txt"), "-o", str(tmp_path / "out.jsonl"), "--job", str(tmp_path / "a.job")]
        assert main([*words, "--auth", "bearer:env:API_TOKEN", "--include", "headers", "--log-format", "json"]) == 0
        assert [arrival.headers["Authorization"] for arrival in server.arrivals] == ["Bearer sekrit99"]
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"sekrit99" not in written
    assert "sekrit99" not in "".join(capfd.readouterr())
