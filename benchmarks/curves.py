"""Dense learning curves beside Stable-Baselines3's with the same settings, to see that the agents learn as they should.

    OMP_NUM_THREADS=1 python -m benchmarks.curves --agents td3 sac --seeds 5 --steps 40000 --into curves

Each run is a process and a file of its own in the folder, so that a second call goes on where the first was stopped.
The table gives the mean area under the curve (the mean of all evaluations, step 0 included) with its t-interval over
seeds, and as a share of the peer's, both above the random policy: returns cross zero, and a ratio of them as they are
would mean nothing. `wrong tau` is ours with targets that move a hundred times too slowly: the check
has to catch it. Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

ENV: Final = "HalfCheetah-v5"
EVALUATIONS: Final = 20
EPISODES: Final = 5
WARMUP: Final = 1000
WITHIN: Final = 0.2
"""By which share the areas may differ."""
OURS, PEER, WRONG = "ours", "Stable-Baselines3", "wrong tau"
WRONG_TAU: Final = 0.00005
Curve = tuple[list[int], list[float]]


def ours(agent: str, seed: int, steps: int, **settings: Any) -> Curve:
    """A run of this project's agent: the steps of its evaluations and their mean returns."""
    import torch

    from registry import Part, Registry
    from rl.environment import make, sizes
    from rl.replay import uniform
    from rl.train import Evaluation, Training

    env, other = make(ENV), make(ENV)
    cpu, dtype = torch.device("cpu"), torch.float32
    torch.set_flush_denormal(True)
    build = Registry(installed=False).bind("agent", Part(agent, settings))
    observation_size, action_size = sizes(env)
    built = build(observation_size=observation_size, action_size=action_size, seed=seed, device=cpu, dtype=dtype)
    replay = uniform(observation_size, action_size)
    records = Training(
        built, env, other, replay, seed=seed, steps=steps, warmup=WARMUP, eval_every=steps // EVALUATIONS,
        episodes=EPISODES, device=cpu, dtype=dtype,
    )  # fmt: skip
    seen = [(r.step, float(np.mean(r.returns))) for r in records if isinstance(r, Evaluation)]
    return [step for step, _ in seen], [mean for _, mean in seen]


def peer(agent: str, seed: int, steps: int) -> Curve:
    """The same of Stable-Baselines3, whose defaults are ours but for TD3's widths and learning rate, and the noise."""
    import gymnasium
    import stable_baselines3
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.noise import NormalActionNoise

    env, other = gymnasium.make(ENV), gymnasium.make(ENV)
    other.reset(seed=seed + 100)
    size = env.action_space.shape[0]
    settings: dict[str, Any] = {
        "learning_rate": 3e-4, "batch_size": 256, "learning_starts": WARMUP, "train_freq": 1, "gradient_steps": 1,
        "policy_kwargs": {"net_arch": [256, 256]},
    }  # fmt: skip
    if agent in ("td3", "ddpg"):
        settings["action_noise"] = NormalActionNoise(np.zeros(size), np.full(size, 0.1))
    if agent == "ddpg":
        settings["policy_kwargs"] |= {"n_critics": 1}
    model = getattr(stable_baselines3, agent.upper())("MlpPolicy", env, seed=seed, device="cpu", **settings)
    curve: Curve = ([], [])

    class Evaluate(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps % (steps // EVALUATIONS) == 0:
                self.look()
            return True

        def look(self) -> None:
            returns, _ = evaluate_policy(model, other, EPISODES, return_episode_rewards=False, warn=False)
            curve[0].append(self.num_timesteps)
            curve[1].append(float(returns))

    callback = Evaluate()
    callback.init_callback(model)
    callback.look()
    model.learn(steps, callback=callback)
    return curve


def area(curve: Curve) -> float:
    """The mean of all evaluations."""
    return float(np.mean(curve[1]))


def one(library: str, agent: str, seed: int, steps: int) -> Curve:
    """A run of either, or of ours with the wrong tau."""
    if library == PEER:
        return peer(agent, seed, steps)
    return ours(agent, seed, steps, **({"tau": WRONG_TAU} if library == WRONG else {}))


def floor(folder: Path) -> float:
    """The random policy's mean return over 30 episodes, once a folder."""
    kept = folder / "random-policy.json"
    if not kept.exists():
        from rl.environment import make, sizes
        from rl.random_policy import random
        from rl.train import evaluate

        env = make(ENV)
        returns, _ = evaluate(random(sizes(env)[1], 0), env, episodes=30, seed=0)
        kept.write_text(json.dumps(float(np.mean(returns))))
    return float(json.loads(kept.read_text()))


def report(areas: dict[tuple[str, str], NDArray[np.float64]], floor: float) -> tuple[str, bool]:
    """The table, and whether ours is within the margin of its peer and the wrong one outside."""
    lines, good = [f"{'agent':<6} {'':<18} {'n':>2} {'area':>8} {'95% interval':>20} {'of its peer':>12}"], True
    for (agent, library), values in areas.items():
        reference = float(areas[agent, PEER].mean()) if (agent, PEER) in areas else float("nan")
        share = float(values.mean() - floor) / (reference - floor)
        half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1) if len(values) > 1 else float("nan")
        interval = f"[{values.mean() - half:.0f}, {values.mean() + half:.0f}]"
        lines.append(f"{agent:<6} {library:<18} {len(values):>2} {values.mean():>8.0f} {interval:>20} {share:>11.2f}x")
        good &= (abs(share - 1) <= WITHIN) == (library != WRONG)
    return "\n".join(lines), good


def draw(curves: dict[tuple[str, str], list[Curve]], floor: float, stem: Path) -> list[Path]:
    """STEM.png and STEM.pdf: a panel an agent, means over seeds and their 95 % t-intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from studies.figures.page import RANDOM_LINE, WIDTH, style, write

    agents = list(dict.fromkeys(agent for agent, _ in curves))
    looks = {OURS: ("#0173b2", "-", "o"), PEER: ("0.2", "-", ""), WRONG: ("#d55e00", "--", "s")}
    with style():
        figure = Figure(figsize=(WIDTH, 3.2))
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(agents), squeeze=False)[0]
        for ax, agent in zip(axes, agents, strict=True):
            for (whose, library), seeds in curves.items():
                if whose != agent:
                    continue
                colour, dashes, marker = looks[library]
                steps, returns = np.array(seeds[0][0]), np.array([curve[1] for curve in seeds])
                mean, n = returns.mean(0), len(returns)
                label = f"{library} (n = {n})"
                ax.plot(steps, mean, color=colour, linestyle=dashes, marker=marker, markevery=4, label=label)
                if n > 1:
                    half = stats.sem(returns) * stats.t.ppf(0.975, n - 1)
                    ax.fill_between(steps, mean - half, mean + half, color=colour, alpha=0.15, linewidth=0)
            ax.axhline(floor, **RANDOM_LINE)
            ax.set_title(agent.upper())
            ax.set_xlabel("environment steps")
            ax.xaxis.set_major_formatter("{x:,.0f}")
            ax.locator_params(axis="x", nbins=4)
        axes[0].set_ylabel(f"return, {ENV}")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=3)
        figure.tight_layout(rect=(0, 0.09, 1, 1))
        stem.parent.mkdir(parents=True, exist_ok=True)
        return write(figure, stem)


def main() -> int:
    """Run what is missing, then print the table; 1 if the check fails."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--agents", nargs="+", default=["td3", "sac"])
    words.add_argument("--libraries", nargs="+", default=[PEER, OURS, WRONG], choices=[PEER, OURS, WRONG])
    words.add_argument("--seeds", type=int, default=5)
    words.add_argument("--steps", type=int, default=40_000)
    words.add_argument("--workers", type=int, default=1)
    words.add_argument("--into", type=Path, default=Path("curves"))
    words.add_argument("--run", nargs=3, metavar=("LIBRARY", "AGENT", "SEED"), help=argparse.SUPPRESS)
    said = words.parse_args()
    said.into.mkdir(parents=True, exist_ok=True)
    if said.run:
        library, agent, seed = said.run
        curve = one(library, agent, int(seed), said.steps)
        _file(said.into, library, agent, int(seed), said.steps).write_text(json.dumps(curve))
        return 0
    wanted = [(lib, agent, seed) for agent in said.agents for lib in said.libraries for seed in range(said.seeds)]
    missing = [run for run in wanted if not _file(said.into, *run, said.steps).exists()]
    command = [sys.executable, "-m", "benchmarks.curves", "--into", str(said.into), "--steps", str(said.steps), "--run"]
    with ThreadPoolExecutor(said.workers) as pool:
        list(pool.map(lambda run: subprocess.run([*command, *map(str, run)], check=True), missing))
    curves: dict[tuple[str, str], list[Curve]] = {
        (agent, library): [
            json.loads(_file(said.into, library, agent, seed, said.steps).read_text()) for seed in range(said.seeds)
        ]
        for agent in said.agents for library in said.libraries
    }  # fmt: skip
    for path in draw(curves, floor(said.into), said.into / "curves"):
        print(path)
    table, good = report({key: np.array(list(map(area, seeds))) for key, seeds in curves.items()}, floor(said.into))
    print(f"{table}\nrandom policy: {floor(said.into):.0f}")
    return 0 if good else 1


def _file(folder: Path, library: str, agent: str, seed: int, steps: int) -> Path:
    return folder / f"{agent}-{library.replace(' ', '-')}-{seed}-{steps}.json"


if __name__ == "__main__":
    sys.exit(main())
