"""How the documentation is built. Nothing is fetched, neither by the build nor by its pages."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "sphinx_extensions"))

import ebsdarchive

project = "ebsdarchive"
author = "The ebsdarchive developers"
project_copyright = author
version = release = ebsdarchive.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "array_types",
    "class_reference",
    "command_reference",
    "plain_math",
]
exclude_patterns = ["sphinx_extensions"]
html_theme = "furo"
html_title = f"ebsdarchive {release}"
html_show_sphinx = False
html_show_copyright = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3  # so that pages may link to headings of each other
smartquotes = False  # two hyphens are an option, not a dash
default_role = "code"  # docstrings write `name` for what stands in code

# Docstrings follow numpydoc, without the types, which the signatures hold.
napoleon_google_docstring = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "all"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"

# References into this package must resolve; those to others would need their inventories.
nitpick_ignore_regex = [("py:.*", r"(?!ebsdarchive\.).*")]
