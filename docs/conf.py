"""Sphinx's configuration of the site: `make site` builds it from the repository's own Markdown.

The source folder is the root of the repository, so that a link between README, docs and benchmarks
leads where it leads in a checkout.
"""

from __future__ import annotations

from typing import Any

#: Page → the pages below it, by heading: they stand here and not in the Markdown, where a forge
#: would show them as code. A page that stands nowhere fails the build.
CONTENTS = {
    "README": {
        "Learn": [
            "Overview <docs/README>",
            "Tutorial <docs/tutorial>",
            "How linfit compares <docs/comparison>",
        ],
        "How-to": [
            "Your own components <docs/plugins>",
            "Beyond one machine <docs/beyond-one-machine>",
            "Share results <docs/sharing>",
            "Serve a model <docs/serving>",
            "Beside your own MLflow code <docs/mlflow>",
        ],
        "Reference": ["docs/reference/README", "docs/glossary"],
        "Explanation": [
            "Losses and penalties <docs/losses>",
            "How far to trust a result <docs/trust>",
            "Reproducing <docs/reproducibility>",
            "Stacking <docs/stacking>",
            "Security <docs/security>",
            "Sizing <docs/sizing>",
            "docs/decisions/README",
            "benchmarks/README",
        ],
        "Project": ["CHANGELOG", "CONTRIBUTING", "Report a weakness <SECURITY>"],
    },
    "docs/reference/README": {"": ["config", "commands", "python", "*"]},
    "docs/decisions/README": {"": ["*"]},
}

project = "linfit"
extensions = ["myst_nb"]
root_doc = "README"
include_patterns = ["*.md", "docs/**", "benchmarks/README.md"]
exclude_patterns = [".*", "build", "outputs", "docs/site"]
nitpicky = True
highlight_language = "text"

myst_heading_anchors = 4
nb_execution_mode = "off"  # the tutorial is stored with what it prints
nb_merge_streams = True

html_theme = "furo"
html_title = "linfit"
html_favicon = "site/favicon.svg"
html_copy_source = False
html_show_copyright = False
html_static_path = ["site"]
html_css_files = ["site.css"]
html_extra_path = ["site/index.html"]


def add_contents(_app: Any, page: str, source: list[str]) -> None:
    """Append the pages below a page to its text."""
    for caption, pages in CONTENTS.get(page, {}).items():
        options = ":hidden:\n:glob:\n" + (f":caption: {caption}\n" if caption else "")
        source[0] += f"\n```{{toctree}}\n{options}\n" + "\n".join(pages) + "\n```\n"


def setup(app: Any) -> None:
    """Let Sphinx call what is above."""
    app.connect("source-read", add_contents)
