"""Sphinx configuration: MyST markdown, and the API from the docstrings."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")

import django

django.setup()

project = "taskq"
author = "The taskq developers"
project_copyright = "2026, the taskq developers"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "taskq"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
# Comments of the source are in the style of Markdown in some places, docstrings in that of reST.
napoleon_google_docstring = True
napoleon_numpy_docstring = False
