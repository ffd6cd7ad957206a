"""What figures depend on, of the machine and of what is installed; neither its name nor its paths."""

from __future__ import annotations

import os
import platform
import shutil
import ssl
import subprocess
from importlib import metadata

from benchmarks import nginx

PACKAGES = ("requests", "urllib3", "requests-futures", "httpx", "aiohttp", "uvloop", "reqstorm")


def machine() -> dict[str, str]:
    """Return the number of cores, the system, and versions; of peers that are installed alone."""
    found = {
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "OpenSSL": ssl.OPENSSL_VERSION.split()[1],
    }
    if (binary := nginx.find()) is not None:
        found["nginx"] = nginx.version(binary)
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            pass
    if (curl := shutil.which("curl")) is not None:
        said = subprocess.run([curl, "--version"], capture_output=True, text=True, check=True).stdout
        found["curl"] = said.split()[1]
    return found
