"""Refusal of settings out of range, in one sentence."""


def demand(allowed: bool, what: str, given: object, range_: str) -> None:
    """ValueError unless `allowed`: what was given, and what may be. NaN fails every comparison."""
    if not allowed:
        raise ValueError(f"{what} is {given!r}; it must be {range_}")


def demand_learning(
    agent: str, *, learning_rate: float, weight_decay: float, batch_size: int, discount: float, tau: float
) -> None:
    """ValueError for what no off-policy agent can learn with."""
    rate = "finite and above 0, for instance 0.0003"
    demand(0 < learning_rate < float("inf"), f"learning_rate of {agent}", learning_rate, rate)
    demand(weight_decay >= 0, f"weight_decay of {agent}", weight_decay, "at least 0; 0 is none")
    demand(batch_size >= 1, f"batch_size of {agent}", batch_size, "at least 1 transition")
    demand(0 <= discount <= 1, f"discount of {agent}", discount, "in [0, 1], for instance 0.99")
    demand(0 < tau <= 1, f"tau of {agent}", tau, "in (0, 1], for instance 0.005")


def demand_widths(agent: str, **hidden: tuple[int, ...]) -> None:
    """ValueError for hidden layers without a unit, or none at all."""
    for name, widths in hidden.items():
        demand(min(widths, default=0) >= 1, f"{name} of {agent}", widths, "one or more widths of at least 1")


def demand_horizon(agent: str, multi_step: int, multi_step_after: int) -> None:
    """ValueError for targets over no step, or from before the first update."""
    demand(multi_step >= 1, f"multi_step of {agent}", multi_step, "at least 1 environment step; 1 is the usual target")
    demand(multi_step_after >= 0, f"multi_step_after of {agent}", multi_step_after, "at least 0 updates")
