"""For authors of plugins: a package to begin with (`sparsity plugin new`), `sparsity check`, and the page of hooks."""
