"""What an action costs in each form that a policy can be exported in: CPU time for one observation, and bytes.

    OMP_NUM_THREADS=1 python -m benchmarks.export --page docs/export.md

TD3's actor of HalfCheetah sizes (17 observations, 6 actions), a static topology by ERK over the hidden layers, one
thread. Blocks of calls take turns in one process; the time of a form is the median of its blocks, its ratio the median
of those to the dense torch policy's block of the same turn. Without --page the tables are printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.random import SeedSequence
from numpy.typing import NDArray
from torch import nn

from benchmarks.marks import put
from registry import default_registry, part
from rl import TD3, td3
from sparsity import STATIC, Sparsifier
from sparsity.export import FORMATS, Network, export
from studies.export import actor_network

Act = Callable[[NDArray[np.float32]], Any]

BEGIN: Final = "<!-- measured -->\n"
END: Final = "<!-- /measured -->"
WIDTHS: Final = (256, 1024)
DENSITIES: Final = (0.5, 0.1, 0.05, 0.02)
DENSE: Final = "torch, dense"
FORMS: Final = (DENSE, "agent, masked", "agent, sparse", "SciPy CSR", "run_policy.py", "ONNX, dense", "ONNX")
SIZES: Final = (17, 6)


def agent(width: int, density: float, execution: str) -> TD3:
    """TD3 with an actor of that density, held so."""
    made = td3(*SIZES, 0, torch.device("cpu"), torch.float32, actor_hidden=(width, width), critic_hidden=(8,))
    actor = made.learners()[1]
    method = replace(STATIC, allocation=part("erk", density=density))
    Sparsifier(actor, method, seed=SeedSequence(0), total=1, execution=execution)  # type: ignore[arg-type]
    return made


def forms(width: int, density: float, folder: Path) -> tuple[dict[str, Act], dict[str, Any]]:
    """Every form of one policy, and what was exported of it by format."""
    masked = agent(width, density, "masked")
    network = actor_network(masked)
    written = {to: export(network, folder / to, to) for to in FORMATS}
    whole = export(_filled(network), folder / "onnx-dense", "onnx")
    sparse = agent(width, density, "sparse")
    acts = (
        _torch(network),
        lambda seen: masked.act(seen, explore=False),
        lambda seen: sparse.act(seen, explore=False),
        _scipy(folder / "scipy"),
        policy_in(folder / "scipy").act,
        _onnx(whole.folder),
        _onnx(written["onnx"].folder),
    )
    return dict(zip(FORMS, acts, strict=True)), written


def _filled(network: Network) -> Network:
    """The same without zeros, so that nothing of it is compacted."""
    return Network(tuple(x._replace(weight=np.where(x.weight == 0, 1e-3, x.weight)) for x in network.layers))


def _torch(network: Network) -> Act:
    modules: list[nn.Module] = []
    for layer in network.layers:
        linear = nn.Linear(layer.weight.shape[1], layer.weight.shape[0])
        linear.load_state_dict({"weight": torch.from_numpy(layer.weight), "bias": torch.from_numpy(layer.bias)})
        modules += [linear, nn.Tanh() if layer.activation == "tanh" else nn.ReLU()]
    module = nn.Sequential(*modules)

    def act(seen: NDArray[np.float32]) -> NDArray[Any]:
        with torch.inference_mode():
            action: NDArray[Any] = module(torch.from_numpy(seen)).numpy()
        return action

    return act


def _scipy(folder: Path) -> Act:
    from scipy.sparse import csr_matrix

    layers = []
    with np.load(folder / "policy.npz", allow_pickle=False) as file:
        for n in range(sum(name.endswith(".data") for name in file.files)):
            data, indices, indptr = (file[f"{n}.{key}"] for key in ("data", "indices", "indptr"))
            layers.append((csr_matrix((data, indices, indptr), shape=file[f"{n}.shape"]), file[f"{n}.bias"]))

    def act(seen: NDArray[Any]) -> NDArray[Any]:
        x = seen
        for weight, bias in layers[:-1]:
            x = np.maximum(weight @ x + bias, 0)
        return np.tanh(layers[-1][0] @ x + layers[-1][1])

    return act


def policy_in(folder: Path) -> Any:
    """The policy of a folder's `run_policy.py`."""
    spec = importlib.util.spec_from_file_location("run_policy", folder / "run_policy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Policy()


def _onnx(folder: Path) -> Act:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "policy.onnx", options, providers=["CPUExecutionProvider"])
    return lambda seen: session.run(None, {"observation": seen[None]})[0][0]


def times(acts: dict[str, Act], repeats: int, calls: int) -> dict[str, NDArray[np.float64]]:
    """Microseconds of the CPU a call, of every block; the forms take turns."""
    seen = np.random.default_rng(0).normal(size=(calls, SIZES[0])).astype(np.float32)
    expected = acts[DENSE](seen[0])
    for name, act in acts.items():
        if name != "ONNX, dense":  # Its weights are filled up.
            np.testing.assert_allclose(act(seen[0]), expected, atol=1e-5)
    taken: dict[str, list[float]] = {name: [] for name in acts}
    for repeat in range(repeats + 1):
        for name, act in acts.items():
            started = time.thread_time()
            for one in seen:
                act(one)
            if repeat:  # The first block warms up.
                taken[name].append(1e6 * (time.thread_time() - started) / calls)
    return {name: np.array(each) for name, each in taken.items()}


def page(repeats: int, calls: int) -> str:
    """Both tables, in Markdown."""
    speed = [_row("width", "density", *FORMS), _row("---:", "---:", *["---:"] * len(FORMS))]
    formats = [name for to in FORMATS for name in (f"{to}, dense", to)]
    size = [_row("width", "density", "units left", *formats), _row(*["---:"] * (3 + len(formats)))]
    for width in WIDTHS:
        for density in DENSITIES:
            with tempfile.TemporaryDirectory() as folder:
                acts, written = forms(width, density, Path(folder))
                taken = times(acts, repeats, calls)
            speed.append(_row(width, density, *_microseconds(taken)))
            left = " + ".join(map(str, written["scipy"].network.units))
            size.append(_row(width, density, left, *_kilobytes(written)))
    return "\n".join([_how(repeats, calls), "", *speed, "", "Kilobytes of the policy's file:", "", *size]) + "\n"


def _microseconds(taken: dict[str, NDArray[np.float64]]) -> Iterator[str]:
    for each in taken.values():
        yield f"{np.median(each):.1f} ({np.median(each / taken[DENSE]):.2f})"


def _kilobytes(written: dict[str, Any]) -> Iterator[str]:
    for exported in written.values():
        size = next(iter(exported.sizes.values()))
        yield f"{exported.dense_bytes / 1000:,.0f}"
        yield f"{size / 1000:,.0f} ({size / exported.dense_bytes:.2f})"


def _how(repeats: int, calls: int) -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scipy", "onnxruntime"))
    return (
        "Microseconds of the CPU for one action, in brackets times the dense torch policy; medians of "
        f"{repeats} interleaved blocks of {calls} calls on one thread, by `python -m benchmarks.export` with "
        f"{libraries}:"
    )


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Print the tables, or put them into a page between its marks."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeats", type=int, default=25)
    arguments.add_argument("--calls", type=int, default=200, help="calls a block")
    arguments.add_argument("--page", type=Path, help="a page of Markdown with the marks")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    default_registry()
    text = page(given.repeats, given.calls)
    if given.page is None:
        print(text)
        return
    put(given.page, BEGIN, text, END)


if __name__ == "__main__":
    main()
