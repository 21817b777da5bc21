"""How absence is carried out.

`masked` computes with dense matrices, on any device, and keeps absent weights exactly zero. `sparse` holds nothing of
them and computes with the others alone, on the CPU. `choice` says which one serves a learner.
"""

from typing import TYPE_CHECKING, TypeAlias

from sparsity.execution.masked import Masked, MaskedWeight

if TYPE_CHECKING:  # compiled kernels take a while to load
    from sparsity.execution.sparse import SparseWeight

    Weight: TypeAlias = MaskedWeight | SparseWeight

__all__ = ["Masked", "MaskedWeight"]
