"""Where sparse arithmetic overtakes dense arithmetic, as measured by `sparsity bench --calibrate`, which writes this.

Runs read it and never a clock, so that equal settings give equal bytes. Another machine's own crossings differ little.
"""

PAYS_BELOW: dict[tuple[int, int], float] = {
    (64, 100): 0.95,
    (64, 256): 0.95,
    (256, 100): 0.65,
    (256, 256): 0.94,
    (1024, 100): 0.45,
    (1024, 256): 0.46,
}
"""(hidden width, batch size): the density of hidden layers below which a sparse update is faster than a masked one."""

EXPAND_FROM: dict[int, float] = {64: 0.91, 256: 0.59, 1024: 0.47}
"""Width: the density from which one layer of sparse execution is faster as a dense product."""
