"""Settings of the documentation; `make docs` builds it with warnings as errors."""

import re
from pathlib import Path

from sphinx.util import logging

import geoprospect

project = "geoprospect"
author = copyright = "The geoprospect developers"
version = release = geoprospect.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}  # pages; the stubs of the reference
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]

html_theme = "furo"
html_title = f"geoprospect {version}"
smartquotes = False  # quotes in the docstrings are Python's
html_copy_source = html_show_sourcelink = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

# A name in backticks links to what it names, and is shown as code where it names nothing of ours.
default_role = "py:obj"
autodoc_typehints = "none"  # the docstrings say what goes in and comes out, in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the template lists them
numpydoc_xref_param_type = False  # its links to Python and NumPy need their inventories from the net

# What would make a browser load from another host; a plain link does not.
_REMOTE = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc\s*=\s*["']?(?:https?:)?//
      | <link\b(?![^>]*\brel\s*=\s*["']?(?:canonical|license|author))[^>]*\bhref\s*=\s*["']?(?:https?:)?//
      | (?:url\(|@import)\s*["']?(?:https?:)?//""",
    re.VERBOSE | re.IGNORECASE,
)


def refuse_other_hosts(app, exception):
    """Warn, and so fail the build, where a page or style sheet loads anything from another host."""
    out = Path(app.outdir)
    for file in [] if exception else sorted([*out.rglob("*.html"), *out.rglob("*.css")]):
        found = _REMOTE.search(file.read_text(encoding="utf-8"))
        if found:
            logging.getLogger(__name__).warning("%s loads from another host: %s", file.relative_to(out), found[0])


def link_public_name(app, env, node, contnode):
    """Let `Samples` in the docstrings of a submodule lead to `geoprospect.Samples`."""
    name = f"geoprospect.{node.get('reftarget', '')}"
    domain = env.get_domain("py")
    if node.get("refdomain") != "py" or name not in domain.objects:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, contnode)


def shorten_signature(app, what, name, obj, options, signature, returns):
    """Show a whole section as a default value of `Config` by three dots."""
    return (re.sub(r"\w+Section\([^()]*\)", "…", signature), returns) if signature else None


def setup(app):
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("build-finished", refuse_other_hosts)
    app.connect("missing-reference", link_public_name)
