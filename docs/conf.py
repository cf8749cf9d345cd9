"""How Sphinx builds the site: ``make docs``. Nothing on it is loaded from the internet."""

from __future__ import annotations

project = "Flagfall"
extensions = ["myst_parser"]
myst_heading_anchors = 4  # as a repository's host makes them, so that links work in both
nitpicky = True

html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
templates_path = ["_templates"]
html_sidebars = {"**": ["pages"]}
html_theme_options = {
    "search_as_you_type": True,
    "navbar_center": [],
    "navbar_persistent": [],
    "navbar_end": ["search-button-field", "theme-switcher"],
    "article_header_start": [],
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
    "footer_center": [],
}
html_show_copyright = False
html_show_sphinx = False
html_show_sourcelink = False
html_copy_source = False
