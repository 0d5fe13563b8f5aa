"""Sphinx configuration: MyST markdown, nothing imported from the code."""

project = "taskq"
author = "The taskq developers"
project_copyright = "2026, the taskq developers"

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "taskq"
