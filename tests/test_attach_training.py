"""What a training loop does around an attached sparsifier: precision, clipping, compilation, saving, going on."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from toys_attach import EVERY, adam, attached, batches, counts, is_sparse, loss, network, short_plan, train

from sparsity import Sparsifier, attach

RIGL: dict[str, Any] = {"method": "rigl", "density": 0.3, "total": 100, "schedule": {**EVERY, "until": 1.0}}


def held(module: nn.Module, sparsifier: Sparsifier) -> bool:
    """Whether the module is sparse with as many connections as the density says."""
    size = sum(layer.size for layer in sparsifier.densities())
    return is_sparse(module, sparsifier) and sum(counts(sparsifier).values()) == round(0.3 * size)


def rectified(*, seed: int = 0) -> nn.Sequential:
    """A network that sparse execution can hold."""
    return nn.Sequential(*(nn.ReLU() if isinstance(layer, nn.Tanh) else layer for layer in network(seed=seed)))


# Precision.


@short_plan
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("method", ["set", "rigl", "snfs", "granet", "ds_released"])
def test_a_module_of_another_precision_is_kept_sparse(method: str, dtype: torch.dtype) -> None:
    module = network(dtype=dtype)
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-2, momentum=0.9)
    with attached(module, optimizer, method, density=0.3, total=20) as sparsifier:
        train(module, optimizer, batches(4, 8, dtype=dtype), 8)
        assert is_sparse(module, sparsifier)


def test_random_growth_in_half_precision_does_not_prefer_low_places() -> None:
    """In bfloat16 a uniform number is one of 256. Of 2^14 equal places in four quarters, each gets a quarter."""
    module = nn.Linear(128, 128).to(torch.bfloat16)
    with attached(module, None, "static", density=0.01, eligible="all") as sparsifier:
        quarters = sparsifier.masks["weight"].view(4, -1).sum(1)
    assert int(quarters.sum()) == 164
    assert quarters.min() > 20
    noise = sparsifier._noise(sparsifier._weights[0])
    assert len(noise.unique()) > 10_000


def test_autocast_in_bfloat16() -> None:
    module = network()
    optimizer, data = adam(module), batches(4, 8)
    with attached(module, optimizer, **RIGL) as sparsifier:
        for _ in range(6):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                out = loss(module, next(data))
            out.backward()
            optimizer.step()
            assert held(module, sparsifier)


def test_a_step_that_a_scaler_skips_is_no_step() -> None:
    module = network()
    optimizer, data = adam(module), batches(4, 8)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    with attached(module, optimizer, **RIGL) as sparsifier:
        for number in range(6):
            optimizer.zero_grad()
            scaler.scale(loss(module, next(data))).backward()
            if number in (1, 2):  # The first is to be an event.
                module[0].weight.grad.fill_(torch.inf)
            scaler.unscale_(optimizer)
            sparsifier.mask_gradients()
            before = [p.detach().clone() for p in module.parameters()]
            scaler.step(optimizer)
            scaler.update()
            assert all(map(torch.equal, before, module.parameters())) is (number in (1, 2))
            assert held(module, sparsifier)
        assert sparsifier.steps == 4


def test_growth_under_a_scaler_is_by_gradients_of_the_loss() -> None:
    """A scale that changes from step to step leaves the trace, and so the topology, as it would be without."""
    outcomes = []
    for scaled in (True, False):
        module = network(dtype=torch.float64)
        optimizer, data = adam(module), batches(4, 8, dtype=torch.float64)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1, enabled=scaled)
        words: dict[str, Any] = {"schedule": EVERY, "total": 50}
        with attached(module, optimizer, "snfs", density=0.3, **words) as sparsifier:
            for _ in range(6):
                optimizer.zero_grad()
                scaler.scale(loss(module, next(data))).backward()
                scaler.step(optimizer)
                scaler.update()
            outcomes.append(sparsifier.masks)
    assert all(torch.equal(outcomes[0][name], mask) for name, mask in outcomes[1].items())


def test_a_fused_optimiser_under_a_scaler_is_refused() -> None:
    module = network()
    optimizer, scaler = adam(module, fused=True), torch.amp.GradScaler("cpu")
    with attached(module, optimizer, **RIGL) as sparsifier:
        scaler.scale(loss(module, next(batches(4, 8)))).backward()
        with pytest.raises(ValueError, match="make the optimiser with fused=False"):
            scaler.step(optimizer)
        assert sparsifier.steps == 0


# Gradients.


def top(gradient: Tensor, among: Tensor, k: int) -> Tensor:
    chosen = torch.zeros(gradient.numel(), dtype=torch.bool)
    chosen[gradient.abs().masked_fill(~among, -1).flatten().topk(k).indices] = True
    return chosen.view(gradient.shape)


def test_accumulated_gradients_grow_together() -> None:
    """The event sees the sum of three backward passes, not the last."""
    module = network(dtype=torch.float64)
    optimizer, data = adam(module), batches(4, 8, dtype=torch.float64)
    with attached(module, optimizer, **{**RIGL, "schedule": {"every": 1}, "readmit": False}) as sparsifier:
        before = sparsifier.masks["0.weight"]
        for _ in range(3):
            loss(module, next(data)).backward()
        gradient = module[0].weight.grad.clone()
        optimizer.step()
        entered = sparsifier.masks["0.weight"] & ~before
        assert int(entered.sum()) >= 1
        assert torch.equal(entered, top(gradient, ~before, int(entered.sum())))


def clipped(module: nn.Module) -> Tensor:
    return nn.utils.clip_grad_norm_(module.parameters(), 0.1)


def test_a_clipped_norm_counts_active_gradients_alone_once_they_are_masked() -> None:
    module = network()
    optimizer = adam(module)
    with attached(module, optimizer, **RIGL) as sparsifier:
        loss(module, next(batches(4, 8))).backward()
        active = [module.get_parameter(n).grad[mask] for n, mask in sparsifier.masks.items()]
        active += [p.grad for p in module.parameters() if p.dim() == 1]
        expected, whole = nn.utils.get_total_norm(active), nn.utils.get_total_norm(p.grad for p in module.parameters())
        sparsifier.mask_gradients()
        torch.testing.assert_close(clipped(module), expected)
        assert expected < 0.9 * whole


@pytest.mark.parametrize("method", ["set", "rigl", "snfs", "mest"])
def test_masking_gradients_early_changes_nothing_by_itself(method: str) -> None:
    """Events still see the dense gradients: equal bytes after ten steps, five of them events."""
    outcomes = []
    for early in (True, False):
        module = network()
        optimizer, data = adam(module), batches(4, 8)
        with attached(module, optimizer, method, density=0.3, total=50, schedule=EVERY) as sparsifier:
            for _ in range(10):
                optimizer.zero_grad()
                loss(module, next(data)).backward()
                if early:
                    sparsifier.mask_gradients()
                    assert not any(module.get_parameter(n).grad[~m].any() for n, m in sparsifier.masks.items())
                optimizer.step()
        outcomes.append([p.detach() for p in module.parameters()])
    assert all(map(torch.equal, *outcomes))


def test_gradients_that_form_after_masking_are_refused() -> None:
    module = network()
    optimizer, data = adam(module), batches(4, 8)
    with attached(module, optimizer, **{**RIGL, "schedule": {"every": 1}}) as sparsifier:
        loss(module, next(data)).backward()
        sparsifier.mask_gradients()
        loss(module, next(data)).backward()
        with pytest.raises(ValueError, match="call it once a step, after the last backward pass"):
            optimizer.step()
        assert sparsifier.steps == 0


def test_gradients_that_the_optimiser_is_to_see_stay() -> None:
    module = network()
    with attached(module, None, "ds_released", density=0.3, total=50) as sparsifier:
        loss(module, next(batches(4, 8))).backward()
        before = module[0].weight.grad.clone()
        sparsifier.mask_gradients()
        assert torch.equal(module[0].weight.grad, before)


def test_parameters_without_a_gradient() -> None:
    """Where no loss reaches, SET needs none, and RigL says which layer it misses."""
    module = network()
    optimizer = adam(module)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(module[2:], next(batches(4, 16))).backward()
        optimizer.step()

    with attached(module, optimizer, "set", density=0.3, schedule=EVERY) as sparsifier:
        for _ in range(4):
            step()
        assert module[0].weight.grad is None
        assert is_sparse(module, sparsifier)
    with attached(module, optimizer, **RIGL):
        step()
        with pytest.raises(ValueError, match=r"asks for a gradient and 0.weight has none: no loss reached it"):
            step()


# Optimisers.


class ScheduleFree(Optimizer):
    """x, y and z of Defazio et al. 2024, plain: trains at y, and `evaluate` puts x in its place."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.05})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for p in (p for group in self.param_groups for p in group["params"] if p.grad is not None):
            state = self.state[p]
            z = state.setdefault("z", p.clone())
            k = state["k"] = state.get("k", 0) + 1
            p.lerp_(z, 1 / k).sub_(p.grad, alpha=0.05 * (1 - 0.9 / k))
            z.sub_(p.grad, alpha=0.05)

    @torch.no_grad()
    def evaluate(self) -> None:
        for p, state in self.state.items():
            p.lerp_(state["z"], 1 - 1 / 0.9)


class Factored(Optimizer):
    """Keeps a row and a column for a matrix."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for p in (p for group in self.param_groups for p in group["params"]):
            self.state[p]["row"] = torch.zeros(len(p))


OPTIMISERS: dict[str, Any] = {
    "fused": lambda m: adam(m, fused=True),
    "foreach": lambda m: adam(m, foreach=True),
    "capturable_decay": lambda m: torch.optim.AdamW(m.parameters(), lr=1e-2, amsgrad=True),
    "muon": lambda m: torch.optim.Muon([p for p in m.parameters() if p.dim() == 2], lr=1e-2),
    "groups": lambda m: torch.optim.SGD(
        [{"params": list(m[0].parameters()), "lr": 0.1}, {"params": list(m[2:].parameters())}], lr=0.01, momentum=0.9
    ),
    "schedule_free": lambda m: ScheduleFree(m.parameters()),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_optimiser_of_this_kind_keeps_it_sparse(name: str) -> None:
    module = network()
    optimizer = OPTIMISERS[name](module)
    with attached(module, optimizer, **RIGL) as sparsifier:
        train(module, optimizer, batches(4, 8), 7)
        assert held(module, sparsifier)


def test_a_schedule_free_average_is_sparse_where_moments_forget_what_is_absent() -> None:
    """With RigL's own rule, which lets dropped connections' moments be, the average brings them back."""
    for moments, sparse in (("mask", True), ("reset_grown", False)):
        module = network()
        optimizer = ScheduleFree(module.parameters())
        with attached(module, optimizer, moments=moments, **RIGL) as sparsifier:
            train(module, optimizer, batches(4, 8), 7)
            optimizer.evaluate()
            assert is_sparse(module, sparsifier) is sparse


def test_state_of_another_shape_is_refused() -> None:
    module = network()
    optimizer = Factored(module.parameters())
    with attached(module, optimizer, **RIGL), pytest.raises(ValueError, match=r"keeps 'row' of shape \(16,\)"):
        train(module, optimizer, batches(4, 8), 1)


def test_adafactor_is_refused() -> None:
    module = network()
    optimizer = torch.optim.Adafactor(module.parameters())
    with attached(module, optimizer, **RIGL), pytest.raises(ValueError, match="Adafactor keeps 'row_var' of shape"):
        train(module, optimizer, batches(4, 8), 1)


def test_a_weight_that_is_frozen_afterwards_is_missed_by_growth_by_gradient_alone() -> None:
    for method in ("set", "rigl"):
        module = network()
        optimizer = adam(module)
        with attached(module, optimizer, **{**RIGL, "method": method}) as sparsifier:
            train(module, optimizer, batches(4, 8), 1)
            module[0].requires_grad_(False)
            if method == "rigl":
                with pytest.raises(ValueError, match=r"0.weight has none: no loss reached it"):
                    train(module, optimizer, batches(4, 8), 1)
            else:
                train(module, optimizer, batches(4, 8), 3)
                assert held(module, sparsifier)


@pytest.mark.parametrize(("event", "gone"), [("instead_of_step", True), ("after_step", False)])
def test_an_event_takes_the_place_of_the_step_or_follows_it(event: str, gone: bool) -> None:
    module = network()
    optimizer = adam(module)
    with attached(module, optimizer, event=event, **RIGL):
        train(module, optimizer, batches(4, 8), 2)
        assert (module[0].weight.grad is None) is gone


def test_parts_of_a_module_with_methods_of_their_own_share_an_optimiser() -> None:
    module = network()
    optimizer = adam(module)
    with (
        attached(module[:2], optimizer, "set", density=0.2, schedule=EVERY, eligible="all") as first,
        attached(module[2:], optimizer, "rigl", density=0.5, total=50, schedule=EVERY) as second,
    ):
        train(module, optimizer, batches(4, 8), 5)
        assert is_sparse(module[:2], first)
        assert is_sparse(module[2:], second)
        assert (sum(counts(first).values()), sum(counts(second).values())) == (26, 136)


def test_a_closure_is_refused() -> None:
    module = network()
    optimizer = adam(module)
    with attached(module, optimizer, "set"), pytest.raises(ValueError, match="was given a closure"):
        optimizer.step(lambda: loss(module, next(batches(4, 8))))


# Compiled, wrapped, moved.


@pytest.mark.filterwarnings("ignore")  # Of torch's own, while it compiles.
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_module_and_a_compiled_step(backend: str) -> None:
    """Inductor, which needs a compiler of C++, is left out."""
    torch.compiler.reset()
    outcomes = []
    for compiled in (True, False):
        module = network(dtype=torch.float64)
        optimizer, data = adam(module), batches(4, 8, dtype=torch.float64)
        with attached(module, optimizer, **RIGL) as sparsifier:
            call = torch.compile(module, backend=backend) if compiled else module
            step = torch.compile(optimizer.step, backend=backend) if compiled else optimizer.step
            for _ in range(6):
                optimizer.zero_grad()
                loss(call, next(data)).backward()
                step()
            assert held(module, sparsifier)
            assert sparsifier.steps == 6
            outcomes.append(sparsifier.masks)
    assert all(torch.equal(outcomes[0][name], mask) for name, mask in outcomes[1].items())
    torch.compiler.reset()


@pytest.fixture
def gloo(tmp_path: Path) -> Iterator[None]:
    from torch import distributed

    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("gloo")
def test_a_distributed_module_of_one_process() -> None:
    module = network()
    wrapped = nn.parallel.DistributedDataParallel(module, gradient_as_bucket_view=True)
    optimizer = adam(module)
    with attached(wrapped, optimizer, **RIGL) as sparsifier:
        assert "0.weight" in sparsifier.masks
        train(wrapped, optimizer, batches(4, 8), 5)
        assert held(module, sparsifier)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_module_converted_afterwards_is_refused_at_its_next_step(dtype: torch.dtype) -> None:
    module = network()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with attached(module, optimizer, **RIGL) as sparsifier:
        module.to(dtype)
        with pytest.raises(ValueError, match=f"0.weight was converted or moved after.*{dtype}.*do so before"):
            train(module, optimizer, batches(4, 8, dtype=dtype), 1)
        assert sparsifier.steps == 0


def test_a_convolution_put_into_channels_last_afterwards_is_refused_at_its_next_step() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    optimizer = adam(module)
    with attached(module, optimizer, "set"):
        module.to(memory_format=torch.channels_last)
        with pytest.raises(ValueError, match=r"converted or moved.*strides"):
            train(module, optimizer, batches(2, 3, 6, 6), 1)


def test_a_conversion_in_two_steps_goes_on_where_it_was() -> None:
    """Take the state, detach, convert, attach, load: as the error says."""
    module = network()
    first = attach(module, torch.optim.SGD(module.parameters(), lr=0.1), **RIGL)
    state = first.state_dict()
    first.detach()
    module.to(torch.float64)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with attached(module, optimizer, **RIGL) as sparsifier:
        sparsifier.load_state_dict(state)
        assert all(torch.equal(mask, state["masks"][name]) for name, mask in sparsifier.masks.items())
        train(module, optimizer, batches(4, 8, dtype=torch.float64), 3)


# Going on.


def everything(module: nn.Module, optimizer: Optimizer, sparsifier: Sparsifier) -> bytes:
    file = io.BytesIO()
    kept = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "sparsifier": sparsifier.state_dict()}
    torch.save(kept, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("method", "execution"),
    [*((m, "masked") for m in ("set", "rigl", "snfs", "granet", "ds", "gmp")), ("set", "sparse"), ("rigl", "sparse")],
)
def test_training_goes_on_from_a_file_bit_for_bit(method: str, execution: Any) -> None:
    words: dict[str, Any] = {"density": 0.3, "total": 24, "execution": execution, "seed": 7}
    if method != "gmp":
        words["schedule"] = {"every": 3}

    def fresh(seed: int) -> tuple[nn.Module, Optimizer, Sparsifier]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
        optimizer = adam(module)
        return module, optimizer, attach(module, optimizer, method, **words)

    data = list(zip(range(24), batches(4, 8), strict=False))
    straight = fresh(0)
    for _, x in data:
        train(*straight[:2], iter([x]), 1)
    halted = fresh(0)
    for _, x in data[:11]:
        train(*halted[:2], iter([x]), 1)
    saved = everything(*halted)
    module, optimizer, sparsifier = fresh(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of torch, that its sparse tensors are young.
        kept = torch.load(io.BytesIO(saved), weights_only=True)
    module.load_state_dict(kept["module"])
    optimizer.load_state_dict(kept["optimizer"])
    sparsifier.load_state_dict(kept["sparsifier"])
    for _, x in data[11:]:
        train(module, optimizer, iter([x]), 1)
    assert sparsifier.steps == straight[2].steps == 24
    assert all(torch.equal(sparsifier.masks[name], mask) for name, mask in straight[2].masks.items())
    assert all(map(torch.equal, module.parameters(), straight[0].parameters()))


def test_dense_weights_loaded_into_a_sparse_module_are_cut_by_the_state_that_follows() -> None:
    module, dense = network(), network(seed=5)
    with attached(module, None, "set", density=0.3) as sparsifier:
        state = copy.deepcopy(sparsifier.state_dict())
        module.load_state_dict(dense.state_dict())
        assert not is_sparse(module, sparsifier)
        sparsifier.load_state_dict(state)
        assert is_sparse(module, sparsifier)


@pytest.mark.parametrize("execution", ["masked", "sparse"])
def test_dense_weights_loaded_into_a_sparse_module_are_cut_by_its_next_step(execution: str) -> None:
    module = rectified()
    optimizer = adam(module)
    with attached(module, optimizer, "set", density=0.3, execution=execution) as sparsifier:
        masks, dense = sparsifier.masks, rectified(seed=5).state_dict()
        module.load_state_dict(dense)
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        train(module, optimizer, batches(4, 8), 1)
        state = module.state_dict()
        for name, mask in masks.items():
            assert torch.equal(sparsifier.masks[name], mask)
            weight = state[name].to_dense() if state[name].is_sparse else state[name]
            assert torch.equal(weight, torch.where(mask, dense[name], 0))


def test_dense_weights_loaded_under_sparse_execution_are_there_for_masks_that_follow() -> None:
    dense = rectified(seed=5).state_dict()
    with attached(rectified(), None, "set", density=0.3, execution="sparse", seed=1) as other:
        state = other.state_dict()
    module = rectified()
    with attached(module, None, "set", density=0.3, execution="sparse") as sparsifier:
        module.load_state_dict(dense)
        sparsifier.load_state_dict(state)
        for name, mask in state["masks"].items():
            assert torch.equal(module.state_dict()[name].to_dense(), torch.where(mask, dense[name], 0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sparse_execution_may_change_its_number_of_connections_while_an_earlier_loss_is_kept(
    dtype: torch.dtype,
) -> None:
    """As in any loop that has its loss in a variable: torch then still has the graph of the step before."""
    module = rectified().to(dtype)
    optimizer, data, kept = adam(module), batches(4, 8, dtype=dtype), []
    words: dict[str, Any] = {"method": "gmp", "density": 0.3, "total": 20, "budget": {"every": 2}}
    with attached(module, optimizer, execution="sparse", **words) as sparsifier:
        for _ in range(20):
            kept.append(loss(module, next(data)))
            optimizer.zero_grad()
            kept[-1].backward()
            optimizer.step()
        assert sum(counts(sparsifier).values()) == round(0.3 * (8 * 16 + 16 * 16 + 16))
