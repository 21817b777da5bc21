"""How absence is carried out.

`masked` computes with dense matrices, on any device, and keeps absent weights exactly zero. `sparse` holds nothing of
them and computes with the others alone, on the CPU. `choice` says which one serves a learner.
"""

from sparsity.execution.masked import Masked, MaskedWeight

__all__ = ["Masked", "MaskedWeight"]
