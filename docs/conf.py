"""How Sphinx makes the site of these pages: `make docs`."""

from __future__ import annotations

from importlib.metadata import version as version_of

from pygments.lexers.shell import BashLexer
from sphinx.application import Sphinx

project = "workerpool"
author = copyright = "workerpool contributors"
version = release = version_of("workerpool-http")

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
nitpicky = True

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4  # as on GitHub, where these pages are read as well

html_theme = "furo"
html_title = "workerpool"
html_copy_source = False


def setup(app: Sphinx) -> None:
    app.add_lexer("cron", BashLexer)  # Pygments knows no crontab
