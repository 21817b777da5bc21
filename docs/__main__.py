"""`python docs` builds the site into docs/_build/html; a warning is an error. More words are those of sphinx-build."""

import sys
from pathlib import Path

from sphinx.cmd.build import main

HERE = Path(__file__).parent

if __name__ == "__main__":
    strict = ["-W", "--keep-going", "-q", "-b", "html"]
    failed = main([*strict, *sys.argv[1:], str(HERE), str(HERE / "_build" / "html")])
    print(f"not built: {failed}" if failed else f"built: {HERE / '_build' / 'html' / 'index.html'}")
    sys.exit(failed)
