"""Questions and answers: grids of runs, their store, statistics, tables and figures.

`studies.study.Study` and `studies.contents.Run` are the objects; `studies.read` makes them from files and flags,
`studies.runner` carries them out, `studies.store` keeps what came of it, `studies.table` and `studies.plot` show it.
Nothing is imported here, so that `sparsity --help` stays quick.
"""
