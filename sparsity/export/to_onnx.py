"""`policy.onnx`: a graph of Gemm and activations, written node by node, so that nothing depends on a tracer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from sparsity.export.network import Layer, Network, Unexportable

FILE = "policy.onnx"
OPSET: Final = 17
IR_VERSION: Final = 8
"""Both of 2022: what reads ONNX today reads these."""

_NODES: Final = {"relu": "Relu", "tanh": "Tanh", "elu": "Elu", "argmax": "ArgMax"}


def files(network: Network, about: Mapping[str, Any]) -> dict[str, bytes]:
    """From `observation` (batch, size) to `action` (batch, size); an argmax gives (batch,).

    Weights are whole matrices: sparse initialisers pass neither the checker's inference of shapes nor ONNX's own
    reference, and onnxruntime makes them dense when it loads them.
    """
    return {FILE: _file(network, about)}


def dense_bytes(network: Network) -> int:
    """Of the same network without a word about it."""
    return len(_file(network, {}))


def _file(network: Network, about: Mapping[str, Any]) -> bytes:
    onnx = _onnx()
    model = onnx.helper.make_model(
        _graph(onnx, network),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="sparsity-rl",
    )
    onnx.helper.set_model_props(model, {_words(key): _words(value) for key, value in about.items()})
    onnx.checker.check_model(model, full_check=True)
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def _graph(onnx: Any, network: Network) -> Any:
    between = [f"hidden.{number}" for number in range(len(network.layers) - 1)]
    nodes, tensors = [], []
    for number, layer in enumerate(network.layers):
        nodes += _nodes(onnx.helper, layer, number, ["observation", *between][number], [*between, "action"][number])
        for name in ("weight", "bias"):
            tensors.append(onnx.numpy_helper.from_array(getattr(layer, name), f"{number}.{name}"))
    info, kinds = onnx.helper.make_tensor_value_info, onnx.TensorProto
    reads = [info("observation", kinds.FLOAT, ["batch", network.observation_size])]
    if network.layers[-1].activation == "argmax":
        gives = [info("action", kinds.INT64, ["batch"])]
    else:
        gives = [info("action", kinds.FLOAT, ["batch", network.action_size])]
    return onnx.helper.make_graph(nodes, "policy", reads, gives, tensors)


def _nodes(helper: Any, layer: Layer, number: int, reads: str, gives: str) -> list[Any]:
    affine = gives if layer.activation == "identity" else f"affine.{number}"
    nodes = [helper.make_node("Gemm", [reads, f"{number}.weight", f"{number}.bias"], [affine], transB=1)]
    if layer.activation != "identity":
        more = {"axis": -1, "keepdims": 0} if layer.activation == "argmax" else {}
        nodes.append(helper.make_node(_NODES[layer.activation], [affine], [gives], **more))
    return nodes


def _words(value: Any) -> str:
    """Text as it is, what no file can hold of it escaped; anything else as JSON."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else json.dumps(value)


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise Unexportable("ONNX files need the library onnx: pip install 'sparsity-rl[onnx]'") from error
    return onnx
