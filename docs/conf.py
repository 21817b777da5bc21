"""The site: `python docs` builds it from the Markdown of this folder and from what is registered."""

import atexit
import os
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE / "_ext"), str(ROOT)]
# Notebooks are run by the Python that builds the site, with its `sparsity`, whatever else its user has installed.
os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A profile of its own: what a user's IPython does at its start is no part of a page, nor are warnings of kernels.
profile = Path(tempfile.mkdtemp(prefix="sparsity-docs-")) / "profile_default"
profile.mkdir()
(profile / "ipython_kernel_config.py").write_text('c.IPKernelApp.log_level = "ERROR"\n')
os.environ["IPYTHONDIR"] = str(profile.parent)
atexit.register(shutil.rmtree, profile.parent, ignore_errors=True)

project = "sparsity-rl"
release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
author = project_copyright = "The sparsity-rl maintainers"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "repository",  # links that leave docs/
    "part_pages",  # a page for every kind of part
    "plain_docstrings",  # docstrings are plain text, not reStructuredText
]
exclude_patterns = ["_build", "quickstart", "Thumbs.db"]
suppress_warnings = ["config.cache"]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
myst_linkify_fuzzy_links = False

nb_execution_mode = "auto"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 300  # The first use of sparse kernels on a machine compiles them.
nb_execution_in_temp = True
nb_kernel_rgx_aliases = {".*": "python3"}
nb_merge_streams = True
nb_render_markdown_format = "myst"  # tables, too

autodoc_member_order = "groupwise"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"sparsity-rl {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
highlight_language = "none"
