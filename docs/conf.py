"""Blocking. How Sphinx makes a site of these documents: `make docs`, then open build/docs/index.html."""

from syncd import __version__

project = "syncd"
author = "the authors of syncd"
copyright = "2026, the authors of syncd"
release = __version__
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "adr/0000-template.md"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
suppress_warnings = ["myst.xref_missing"]  # links to files of the repository that are no documents: a test follows them
html_theme = "alabaster"
html_theme_options = {"description": "Folders kept equal, without a server in the middle", "show_powered_by": False}
html_static_path: list[str] = []
html_copy_source = False
html_use_opensearch = ""
