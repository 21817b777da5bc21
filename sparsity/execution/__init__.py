"""How absence is carried out: `masked` computes with dense matrices and keeps absent weights exactly zero."""

from sparsity.execution.masked import MaskedWeight

__all__ = ["MaskedWeight"]
