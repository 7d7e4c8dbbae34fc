"""How Sphinx builds the documentation: ``sphinx-build -W -b html docs docs/_build``."""

from importlib.metadata import version as version_of

project = "sfumato"
author = "The sfumato authors"
copyright = "The sfumato authors"
release = version = version_of("sfumato")

extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
# links to files of the repository outside docs/ are checked by tests/test_docs.py
suppress_warnings = ["myst.xref_missing"]

html_theme = "furo"
html_title = f"sfumato {release}"
