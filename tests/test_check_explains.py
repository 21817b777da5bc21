"""What `sparsity check` says of plugins that are broken, one case a sort: enough for a newcomer to mend them."""

from __future__ import annotations

import textwrap

import pytest
from lab import Lab, a_lab, no_figures

lab, quiet = a_lab, no_figures

HEAD = """\
import random

import numpy as np
import torch
from registry import hookimpl
"""


def plugin(text: str) -> str:
    """A file: the head, five lines, and then the text from line 6 on."""
    return HEAD + textwrap.dedent(text).lstrip("\n")


def criterion(body: str, *, takes: str = "weight, noise", kind: str = "prune") -> str:
    """A plugin with one part called `mine`: its body begins in line 7."""
    body = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    return plugin(f"def mine({takes}):\n{body}\n\n@hookimpl\ndef register_{kind}(register):\n    register(mine)\n")


PARTS = {
    "raises": (criterion("size = weight.abs()\nreturn size[99, 99]"), ("raised IndexError", "mine.py:8")),
    "returns nothing": (
        criterion("weight.abs()"),
        (
            "gave NoneType None",
            "expected  it must give a float tensor shaped (2, 4, 5)",
            "without `return`",
            "mine.py:6",
        ),
    ),
    "wrong shape": (
        criterion("return weight.abs().sum(-1)"),
        ("gave a torch.float32 tensor shaped (2, 4)", "it must give a float tensor shaped (2, 4, 5)", "keepdim=True"),
    ),
    "not a number": (
        criterion("return weight / weight.abs().sum()"),
        ("scores that are not finite", "came", "nan at [0, 0, 0], where weight = 0", "all zero", "clamp(min=1e-9)"),
    ),
    "changes its input": (
        criterion("weight[weight < 0] = 0\nreturn weight"),
        ("changed its input 'weight' in place", "`torch.where`", "weight    float32 (2, 4, 5): "),
    ),
    "looks at numbers": (
        criterion("if weight.sum() > 0:\n    return weight\nreturn -weight"),
        ("in some data-dependent control flow.)", "no .item(), no `if` on tensors"),
    ),
    "over the population": (
        criterion("return weight.abs() - weight.abs().mean()"),
        ("answers a population otherwise than its members one by one", "dim=(-2, -1)"),
    ),
    "torch's generator": (
        criterion("return torch.rand_like(weight)"),
        ("changed torch's global random state", "randomness comes in as `noise`"),
    ),
    "NumPy's generator": (
        criterion("return weight.abs() * np.random.rand()"),
        ("changed NumPy's global random state", "randomness comes in as `noise`"),
    ),
    "Python's generator": (
        criterion("return weight.abs() * random.random()"),
        ("changed Python's global random state", "randomness comes in as `noise`"),
    ),
    "a generator of its own": (
        plugin("""
        draw = np.random.default_rng(0)
        def mine(weight):
            return weight.abs() + float(draw.random())
        @hookimpl
        def register_grow(register): register(mine)
        """),
        ("gave two different answers to the same inputs", "ask for `noise` instead", "mine.py:7"),
    ),
    "whole numbers": (
        criterion("return weight.abs().argsort(-1).argsort(-1)"),
        ("gave a torch.int64 tensor", "it must give a float tensor", ".to(torch.float32)"),
    ),
    "true and false": (
        criterion("return weight.abs() > 0.1", kind="grow"),
        ("gave a torch.bool tensor", "it must give a float tensor"),
    ),
    "double precision in a trace": (
        criterion("return trace + grad.double()", takes="trace, grad", kind="trace"),
        ("gave a torch.float64 tensor", "it must give a torch.float32 tensor", "`.to(...)` that of one of them"),
    ),
    "a mask of scores": (
        criterion("return target.abs()", takes="target", kind="target"),
        ("gave a torch.float32 tensor", "it must give a torch.bool tensor", "target.abs() > 0.1"),
    ),
    "a fraction over one": (
        criterion("return step / 100", takes="step", kind="schedule"),
        (
            "gave float 1.01 at step 101",
            "a fraction to swap is a number in [0, 1]",
            "200 updates planned",
            "min(1.0, ...)",
        ),
    ),
    "a density of nothing": (
        criterion("return density * (1 - step / total)", takes="step, total, density", kind="budget"),
        ("gave float 0.0 at step 200", "a density is a number in (0, 1]", "not fall to 0"),
    ),
    "a density that is not met": (
        plugin("""
        def mine(shapes, *, density: float = 0.5):
            return dict.fromkeys(shapes, density / 2)
        @hookimpl
        def register_allocation(register): register(mine)
        """),
        ("gave 0.45 in all where its setting `density` was 0.9: meet it, or call the setting otherwise",),
    ),
    "a layer that is not there": (
        criterion("return ('hidden.0.wieght',)", takes="shapes", kind="eligible"),
        ("no weight of the network. Did you mean 'hidden.0.weight'?", "case", "an MLP", "mine.py:6"),
    ),
    "a contradictory method": (
        plugin("""
        from sparsity import Method
        from registry import part
        @hookimpl
        def register_method(register):
            register(Method(born=part("as_stepped")), name="mine", about="-")
        """),
        ("does not resolve", "set optimizer_sees = 'dense'", "mine.py"),
    ),
    "a preset of nobody": (
        plugin("""
        from studies.preset import Preset
        @hookimpl
        def register_preset(register):
            register(Preset(agent="td3", settings={"lerning_rate": 1.0}), name="mine", about="-")
        """),
        ("cannot be planned with", "lerning_rate", "learning_rate", "mine.py"),
    ),
    "an executor that says nothing": (
        criterion("for job in jobs:\n    pass", takes="jobs, report", kind="executor"),
        ("reports 0 ends of the job 'good'", 'report(job.id, {"ended": exit code', "carry_out(job, report)"),
    ),
    "a logger that begins anew": (
        plugin("""
        class Lines:
            def __init__(self, path): self.file = open(path, "w")
            def write(self, record): print(record, file=self.file, flush=True)
            def close(self): self.file.close()
        def mine(folder): return Lines(folder / "lines.txt")
        @hookimpl
        def register_logger(register): register(mine)
        """),
        ("begins lines.txt anew in a run that goes on", 'open(path, "a")', "mine.py:10"),
    ),
    "a logger that keeps it to itself": (
        plugin("""
        class Lines:
            def __init__(self, path): self.file = open(path, "a")
            def write(self, record): print(record, file=self.file)
            def close(self): self.file.close()
        def mine(folder): return Lines(folder / "lines.txt")
        @hookimpl
        def register_logger(register): register(mine)
        """),
        ("has not written all that it was told, until it is closed", "flush()"),
    ),
    "an agent that raises": (
        criterion("return None.act", takes="observation_size, action_size", kind="agent"),
        ("raised AttributeError", "mine.py:7"),
    ),
}
"""Plugins that can be loaded, and what is said of their part."""


@pytest.mark.parametrize("sort", PARTS)
def test_a_part_that_does_not_conform_is_explained(sort: str, lab: Lab) -> None:
    text, said = PARTS[sort]
    answer = lab("check", lab.file(text, "mine.py"))
    assert answer.code == 2
    assert " mine: 1 problem" in answer.out or " mine: 2 problems" in answer.out
    for words in said:
        assert words in answer.out
    assert "where" in answer.out
    assert "Traceback" not in answer.out + answer.err


def hooked(line: str, hook: str = "@hookimpl\ndef register_prune(register):") -> str:
    """A plugin whose hook has the one line; `cold` is a part that is well."""
    return plugin(f"def cold(weight):\n    return weight.abs()\n\n{hook}\n    {line}\n")


PLUGINS = {
    "a syntax error": (HEAD + "def mine(:\n    pass\n", ("SyntaxError", "def mine(:", "mine.py:6")),
    "a missing library": (
        HEAD + "import no_such_library\n",
        ("No module named 'no_such_library'", "mine.py:6", "install no_such_library, or mend its name"),
    ),
    "a misspelt import": (
        "from registry import hookimp\n",
        ("cannot import name 'hookimp' from 'registry'", "Did you mean 'hookimpl'?", "mine.py:1"),
    ),
    "an error at its top": (HEAD + "1 / 0\n", ("ZeroDivisionError: division by zero", "mine.py:6")),
    "nothing in it": ("x = 1\n", ("registers no part: it needs a function register_<kind>(register)", "@hookimpl")),
    "hookimpl forgotten": (
        hooked("register(cold)", "def register_prune(register):"),
        ("register_prune is not marked", "put @hookimpl on the line before it", "mine.py:9"),
    ),
    "hookimpl of another project": (
        "import pluggy\n" + hooked("register(cold)", "@pluggy.HookimplMarker('llm')\ndef register_prune(register):"),
        ("register_prune is not marked", "from registry import hookimpl"),
    ),
    "a misspelt hook": (
        hooked("register(cold)", "@hookimpl\ndef register_prun(register):"),
        ("unknown hook 'register_prun'. Did you mean 'register_prune'?", "mine.py:9"),
    ),
    "a misspelt hook, not marked": (
        hooked("register(cold)", "def register_prun(register):"),
        ("registers no part: register_prun is no hook. Did you mean 'register_prune'?", "mine.py:9"),
    ),
    "a hook of another version": (
        hooked("register(cold)", "@hookimpl\ndef register_curriculum(register):"),
        ("unknown hook 'register_curriculum'. Known: ", "newer sparsity-rl", "optionalhook=True", "mine.py:9"),
    ),
    "a hook that takes more": (
        hooked("register(cold)", "@hookimpl\ndef register_prune(register, config):"),
        ("register_prune takes `register` and nothing else, not (register, config)", "mine.py:9"),
    ),
    "a hook that takes nothing": (
        hooked("print(cold)", "@hookimpl\ndef register_prune():"),
        ("register_prune takes `register` and nothing else, not (): def register_prune(register)", "mine.py:9"),
    ),
    "a hook that registers nothing": (
        hooked("pass"),
        ("registers no part: register_prune never came to register(part)",),
    ),
    "a hook that raises": (hooked("register(warm)"), ("NameError: name 'warm' is not defined", "mine.py:11")),
    "a class": (
        hooked("register(Warm)", "class Warm: ...\n@hookimpl\ndef register_prune(register):"),
        ("prune the class Warm must be a function", "`return Warm(...)`", "mine.py:9"),
    ),
    "a lambda": (
        hooked("register(lambda weight: weight)"),
        ("prune '<lambda>'", "a lambda has none, and no docstring: write a `def`", "mine.py:11"),
    ),
    "a row without a name": (
        hooked("register(SET)", "from sparsity import SET\n@hookimpl\ndef register_method(register):"),
        ("method a Method: a name is", "a row of data has none of its own: register(..., name='mine')", "mine.py:10"),
    ),
    "a setting without an annotation": (
        hooked("register(hot)", "def hot(weight, *, heat=0.1): ...\n@hookimpl\ndef register_prune(register):"),
        ("prune 'hot': setting 'heat' has no annotation: write, say, `heat: float = 0.1`", "mine.py:9"),
    ),
    "a setting before the star": (
        hooked("register(hot)", "def hot(weight, heat=0.1): ...\n@hookimpl\ndef register_prune(register):"),
        ("input 'heat' has a default: put `*` before it, if it is a setting", "mine.py:9"),
    ),
    "an input that nothing feeds": (
        hooked("register(hot)", "def hot(wieght): ...\n@hookimpl\ndef register_prune(register):"),
        ("asks for 'wieght', which nothing feeds. Did you mean 'weight'?", "Inputs: ", "mine.py:9"),
    ),
    "an input of another kind": (
        hooked("register(hot)", "def hot(step): ...\n@hookimpl\ndef register_prune(register):"),
        ("asks for 'step', which nothing feeds.", "mine.py:9"),
    ),
    "a name that is taken": (
        hooked("register(cold, name='magnitude')"),
        ("prune 'magnitude' is claimed by sparsity.prune and by ", "rename one of the two"),
    ),
    "one name twice": (
        hooked(
            "register(cold), register(hot, name='cold')", "def hot(grad): ...\n@hookimpl\ndef register_prune(register):"
        ),
        ("registers prune 'cold' twice (", "mine.py:6 and ", "mine.py:9)", "give one of them another name"),
    ),
    "an unknown fact": (
        hooked("register(cold, window=3)"),
        ("register for a prune takes no 'window'", "mine.py:6"),
    ),
}
"""Plugins that cannot be loaded, and what is said of them."""


@pytest.mark.parametrize("sort", PLUGINS)
def test_a_plugin_that_cannot_be_loaded_is_explained(sort: str, lab: Lab) -> None:
    text, said = PLUGINS[sort]
    answer = lab("check", lab.file(text, "mine.py"))
    assert answer.code == 2
    (error,) = answer.errors
    for words in said:
        assert words in error
    assert "Traceback" not in answer.out + answer.err
