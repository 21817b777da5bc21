"""Speed on the user's machine: our agents, dense, masked and sparse, beside dense TD3 as others ship it.

`plan` says what is measured, `race` runs it: a process a contestant (`worker`, with an agent of `ours` or of `peers`
inside), one of them at a time. `results` holds what came of it, `bars`, `sections` and `drawing` show it, and `command`
is the whole of `sparsity bench`. Nothing heavy is imported here: a worker binds itself to its cores first.
"""
