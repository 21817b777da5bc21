"""`python -m studies` is the `sparsity` command."""

from studies.cli import main

main()
