"""What is built of the project: a wheel and a source distribution that hold what they should, and work alone."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.conftest import IN_FULL
from workerpool.cli.completion import SCRIPTS

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with both, made of what the repository holds."""
    directory, source = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("source")
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if names.returncode:
        pytest.skip("this is no clone, so what belongs to the project cannot be told")
    for name in names.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("docs/", "tests/", "benchmarks/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    kinds = [] if IN_FULL else ["--wheel"]  # by default both, the wheel from the source distribution
    command = [sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", str(directory), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return directory


@pytest.fixture
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def modules() -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / "workerpool").rglob("*.py")}


def test_the_wheel_has_every_module_the_marker_the_manual_and_the_completions(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name for name in names if name.endswith(".py")} == modules()
    assert "workerpool/py.typed" in names
    installed = {name.partition(".data/data/")[2] for name in names if ".data/data/" in name}
    assert installed == {
        "share/man/man1/workerpool.1", "share/bash-completion/completions/workerpool",
        "share/zsh/site-functions/_workerpool", "share/fish/vendor_completions.d/workerpool.fish",
    }  # fmt: skip
    assert {f"workerpool/share/{name}" for name in SCRIPTS.values()} < names
    pages = ROOT / "workerpool" / "report" / "page"
    assert {str(path.relative_to(ROOT)) for path in pages.rglob("*.*") if path.suffix != ".pyc"} < names


def test_its_metadata_say_what_it_is_and_name_the_extras(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
    told = message_from_bytes(archive.read(name))
    assert (told["Name"], told["Requires-Python"], told["License"]) == ("workerpool-http", ">=3.11", "MIT")
    assert {"cli", "parquet", "redis", "cluster", "prometheus", "otel", "all"} <= set(
        told.get_all("Provides-Extra") or []
    )
    assert [one for one in told.get_all("Requires-Dist") or [] if "extra" not in one] == [
        "requests>=2.32", "urllib3>=2.6", "tenacity>=9", "structlog>=24",
    ]  # fmt: skip
    assert any(name.endswith("LICENSE") for name in archive.namelist())


def test_it_runs_by_itself(wheel: Path, tmp_path: Path) -> None:
    """Unpacked, as installers do, and without the repository in sight."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    command = [
        sys.executable,
        "-c",
        "import workerpool, sys; sys.exit(not workerpool.__file__.startswith(sys.argv[1]))",
    ]
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin"}
    subprocess.run([*command, str(tmp_path / "site")], env=environment, cwd=tmp_path, check=True, timeout=60)
    done = subprocess.run(
        [sys.executable, "-m", "workerpool", "completion", "bash"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "complete" in done.stdout, done.stderr


@pytest.mark.skipif(not IN_FULL, reason="make long")
def test_the_source_distribution_builds_the_same(built: Path, wheel: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert modules() <= names
    assert {"setup.cfg", "setup.py", "pyproject.toml", "LICENSE", "README.md", "workerpool/share/workerpool.1"} <= names


def test_the_checkers_of_the_index_find_nothing(built: Path) -> None:
    files = [str(path) for path in built.iterdir()]
    wheels = [file for file in files if file.endswith(".whl")]
    # W002: the manual and the completions are where systems look for them, and where the command does.
    for command in (["twine", "check", "--strict", *files], ["check_wheel_contents", "--ignore", "W002", *wheels]):
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
