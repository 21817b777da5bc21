"""The published methods side by side: the table that `sparsity parts method` shows.

Each row follows its paper's text; where the released code does otherwise, that is a row of its own, `..._released`.
`departures` are what a row does not do as its authors do. Counts are always exact here, `floor(f nnz)` connections an
event: where others take the ceiling, one more, or whatever ties at a threshold, that is not said again.
`own` are the fields in which a row is what it is, which studies do not share out with `[all]`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from registry import hookimpl, part
from sparsity.method import Method

# No sparsity, and the controls.

DENSE = Method(eligible=part("none"), allocation=part("uniform", density=1.0))

DENSE_SMALL = Method(network="shrunk")

STATIC = Method()

STATIC_SCALED = replace(STATIC, weights=part("unit_scaled"))

# Topologies chosen once, before training or in it.

SYNFLOW = Method(eligible=part("all"), initial=part("synflow"))

SNIP = Method(
    eligible=part("all"),
    prune=part("saliency"),
    budget=part("at_once", start=1.0, at=1),
    scope="network",
    event="instead_of_step",
)

GMP = Method(eligible=part("all"), budget=part("cubic", start=1.0, begin=0.2, end=0.8, every=1000))

GMP_GLOBAL = replace(GMP, scope="network")

# Topologies that change while the number of connections stays.

SET = Method(schedule=part("periodic", fraction=0.3, every=1000), readmit=True)

RIGL = Method(
    eligible=part("all"),
    grow=part("gradient"),
    schedule=part("cosine", fraction=0.3, every=100, until=0.75),
    moments=part("reset_grown"),
    readmit=True,
    event="instead_of_step",
)

ITOP_SET = Method(
    eligible=part("all"),
    schedule=part("cosine", fraction=0.5, every=1500, until=1.0, floor=0.005),
    readmit=True,
)

ITOP_RIGL = replace(
    ITOP_SET, grow=part("gradient"), schedule=part("cosine", fraction=0.5, every=4000, until=1.0, floor=0.005)
)

SNFS = Method(
    eligible=part("all"),
    grow=part("momentum"),
    spread=part("by_momentum"),
    schedule=part("cosine", fraction=0.5, every=1000, until=1.0, floor=0.005),
    readmit=True,
)

SNFS_RELEASED = replace(SNFS, grow=part("scaled_momentum"), spread=part("by_scaled_momentum"))

DSR = Method(
    eligible=part("all"),
    spread=part("by_survivors"),
    schedule=part("staged"),
    swap_scope="network",
)

MEST = Method(
    eligible=part("all"),
    prune=part("magnitude_gradient", balance=0.01),
    schedule=part("periodic", fraction=0.3, every=1000),
    readmit=True,
)

MEST_RELEASED = replace(MEST, prune=part("magnitude"))

MEST_SOFT = replace(
    MEST,
    budget=part("soft_bound"),
    schedule=part("staged", fractions=(1 / 3, 0.2, 0.3), periods=(1000, 1000, 1000), ends=(0.5625, 0.75, 1.0)),
)

GRANET = Method(
    eligible=part("all"),
    grow=part("gradient"),
    schedule=part("cosine", fraction=0.5, every=1000, until=1.0, floor=0.005),
    budget=part("cubic", start=0.5, begin=0.2, end=0.8, every=1000),
    readmit=True,
    scope="network",
)

# Made for reinforcement learning.

DS = Method(
    allocation=part("lambdas", first=7.0, rest=64.0),
    initial=part("bernoulli"),
    prune=part("half_per_sign"),
    schedule=part("periodic", fraction=0.05, every=1000),
    target=part("keep_largest", count="mask"),
)

DS_RELEASED = Method(
    allocation=part("lambdas", first=7.0, rest=64.0),
    initial=part("bernoulli"),
    prune=part("share_per_sign"),
    born=part("as_stepped"),
    schedule=part("periodic", fraction=0.05, every=1000, phase=2, until=37 / 39),
    budget=part("final_cut", fraction=0.05, after=37 / 39, every=1000, phase=2),
    target=part("keep_largest", count="nonzero"),
    moments=part("keep"),
    readmit=True,
    optimizer_sees="dense",
)

ANF = Method(
    eligible=part("input"),
    allocation=part("uniform", density=0.2),
    schedule=part("periodic", fraction=0.05, every=1000, phase=2),
    target=part("keep_largest", count="nonzero"),
    readmit=True,
)

RLX2 = Method(
    eligible=part("all"),
    grow=part("gradient"),
    schedule=part("cosine", fraction=0.5, every=10_000, until=1.0),
    moments=part("keep"),
    readmit=True,
    event="instead_of_step",
    clock="optimizer",
)

RLX2_RELEASED = replace(RLX2, initial=part("magnitude"))

NE_RELEASED = Method(
    eligible=part("all"),
    allocation=part("uniform", density=0.75),
    grow=part("gradient"),
    schedule=part("expanding"),
    budget=part("grow"),
    moments=part("keep"),
    event="instead_of_step",
    clock="optimizer",
)

NE = replace(NE_RELEASED, prune=part("dormancy"))


@hookimpl
def register_method(register: Callable[..., object]) -> None:
    register(DENSE, name="dense", about="No mask: the dense agent.")
    register(
        DENSE_SMALL,
        name="dense_small",
        about="A narrower dense agent with as many parameters as the sparse one.",
        source='"Tiny" of Tan et al., RLx2: Training a Sparse Deep Reinforcement Learning Model from Scratch, ICLR',
        year=2023,
    )
    register(
        STATIC,
        name="static",
        about="A random topology that never changes: the control of dynamic training.",
        source="Mocanu et al., A Topological Insight into Restricted Boltzmann Machines, Machine Learning 104",
        year=2016,
    )
    register(
        STATIC_SCALED,
        name="static_scaled",
        about="A random topology that never changes, its initial weights scaled to the fan-in that is left.",
        source="Evci et al., Gradient Flow in Sparse Neural Networks and How Lottery Tickets Win, AAAI",
        year=2022,
        departures=("The bound is that of the fan-in alone; the authors' code for RL averages fan-in and fan-out.",),
    )
    register(
        SYNFLOW,
        name="synflow",
        about="The topology through which most flows, found before training and without data.",
        source="Tanaka et al., Pruning Neural Networks without Any Data by Iteratively Conserving Synaptic Flow, "
        "NeurIPS",
        year=2020,
        own=("initial",),
        departures=("Biases are left out of the flow, and so are output scale and squashing.",),
    )
    register(
        SNIP,
        name="snip",
        about="Dense until the first update, then one network-wide cut by |w g| on its batch.",
        source="Lee, Ajanthan & Torr, SNIP: Single-Shot Network Pruning Based on Connection Sensitivity, ICLR",
        year=2019,
        departures=(
            "The batch comes after the random warm-up, as there is no loss before; targets take the mask at their "
            "next update.",
            "The actor's cut is at its own first step, when the critics have stepped `policy_delay` times.",
        ),
    )
    register(
        GMP,
        name="gmp",
        about="Dense at first, then the smallest leave layer by layer along a cubic, and none returns.",
        source="Zhu & Gupta, To Prune, or Not to Prune, ICLR workshop",
        year=2018,
        departures=(
            "The window, 20 to 80 % of the run, is that of Graesser et al. 2022.",
            "Layers fall on the line between full and final density, as code for TensorFlow and JAX does.",
        ),
    )
    register(
        GMP_GLOBAL,
        name="gmp_global",
        about="The same cubic, the smallest of the whole network leaving, whatever their layer.",
        source="Zhu & Gupta, To Prune, or Not to Prune, ICLR workshop; ranked over the network as by Frankle & Carbin",
        year=2019,
    )
    register(
        SET,
        name="set",
        about="Smallest out, random in.",
        source="Mocanu et al., Scalable Training of Artificial Neural Networks with Adaptive Sparse Connectivity, "
        "Nature Communications 9:2383",
        year=2018,
        departures=(
            "Smallest means |w|, as everybody's code does it; the paper's own rule by sign is `half_per_sign`.",
            "Periods are updates; the paper's is an epoch.",
        ),
    )
    register(
        RIGL,
        name="rigl",
        about="Smallest out, largest gradient in; the event takes the place of the gradient step.",
        source="Evci et al., Rigging the Lottery: Making All Tickets Winners, ICML",
        year=2020,
        departures=("The first event is at the first period; the authors' code has one at step 0 too.",),
    )
    register(
        ITOP_SET,
        name="itop_set",
        about="SET with long periods and large swaps until the end, to have explored many connections in time.",
        source="Liu et al., Do We Actually Need Dense Over-Parameterization? In-Time Over-Parameterization, ICML",
        year=2021,
        own=("schedule",),
        departures=("The fraction falls along a cosine to 0.005, as in the code of SNFS that theirs builds on.",),
    )
    register(
        ITOP_RIGL,
        name="itop_rigl",
        about="RigL after the step, with long periods and large swaps until the end.",
        source="Liu et al., Do We Actually Need Dense Over-Parameterization? In-Time Over-Parameterization, ICML",
        year=2021,
        own=("schedule",),
        departures=("The fraction falls along a cosine to 0.005, as in the code of SNFS that theirs builds on.",),
    )
    register(
        SNFS,
        name="snfs",
        about="Smallest out, largest momentum in, and layers with more momentum get more.",
        source="Dettmers & Zettlemoyer, Sparse Networks from Scratch: Faster Training without Losing Performance",
        year=2019,
        departures=(
            "Periods are updates; the paper's is an epoch.",
            "The paper takes the momentum of its SGD; this is an average of dense gradients beside any optimiser.",
            "A layer may grow full; the authors' code stops at 99 % and slows the pruning of nearly dense layers.",
        ),
    )
    register(
        SNFS_RELEASED,
        name="snfs_released",
        about="As its code does it where the optimiser is Adam: growth and spread by |m / (sqrt(v) + 1e-8)|.",
        source="released code of Dettmers & Zettlemoyer, Sparse Networks from Scratch",
        year=2019,
        departures=(
            "Moments are averages of dense gradients beside the optimiser's, which sees masked ones.",
            "A layer may grow full; the authors' code stops at 99 % and slows the pruning of nearly dense layers.",
        ),
    )
    register(
        DSR,
        name="dsr",
        about="The smallest of the whole network out, random in, in proportion to the layers' survivors.",
        source="Mostafa & Wang, Parameter Efficient Training of Deep CNNs by Dynamic Sparse Reparameterization, ICML",
        year=2019,
        departures=(
            "Exactly as many leave as are due; the authors' threshold is doubled or halved until about as many do.",
            "A tenth is swapped at an event; the authors give a number of weights for each of their networks.",
        ),
    )
    register(
        MEST,
        name="mest",
        about="Least |w| + 0.01 |g| out, random in (EM).",
        source="Yuan et al., MEST: Accurate and Fast Memory-Economic Sparse Training Framework on the Edge, NeurIPS",
        year=2021,
        departures=(
            "The gradient weighs 0.01; the release has a weight of its own to set, which is 0.",
            "The swapped fraction and the period are SET's: the paper's are of its image tasks.",
        ),
    )
    register(
        MEST_RELEASED,
        name="mest_released",
        about="As its code does it: lambda is 0, so that the smallest leave and random ones enter.",
        source="released code of Yuan et al., MEST",
        year=2021,
        departures=("The swapped fraction and the period are SET's: the paper's are of its image tasks.",),
    )
    register(
        MEST_SOFT,
        name="mest_soft",
        about="With a soft memory bound that tightens: 1.5 d, 1.25 d, then d (EM&S).",
        source="Yuan et al., MEST: Accurate and Fast Memory-Economic Sparse Training Framework on the Edge, NeurIPS",
        year=2021,
        own=("schedule",),
        departures=("Stages are shares of the run, of 90, 120 and 160 epochs.",),
    )
    register(
        GRANET,
        name="granet",
        about="Cut over the whole network along a cubic, then regrow layer by layer by gradient.",
        source="Liu et al., Sparse Training via Boosting Pruning Plasticity with Neuroregeneration, NeurIPS",
        year=2021,
        departures=(
            "The window is that of `gmp`, 20 to 80 % of the run: the paper's is of its image tasks.",
            "Each layer starts on the line between full and its final density; the paper starts with ERK at 0.5.",
        ),
    )
    register(
        DS,
        name="ds",
        about="Smallest of each sign out, random in; targets keep as many as there are (Alg. 2 and 3): DS-TD3, DS-SAC.",
        source="Sokar et al., Dynamic Sparse Training for Deep Reinforcement Learning, IJCAI",
        year=2022,
        departures=(
            "Eq. 4 and 5 taken literally clear every negative weight; here half of the swap leaves from each sign.",
            "An exhausted sign passes its rest to the other; colliding draws are drawn again.",
            "Exactly k entries stay in a target; Alg. 3 as written keeps all that tie.",
        ),
    )
    register(
        DS_RELEASED,
        name="ds_released",
        about="DS-TD3 as its released code does it: shares of each sign, dense moments, a last cut without growth.",
        source="released code of Sokar et al., Dynamic Sparse Training for Deep Reinforcement Learning",
        year=2022,
        departures=(
            "One positive more than the share, and whatever ties at a threshold, leave in the code.",
            "The target's cut of the dense output layer, which does nothing in practice, is left out.",
        ),
    )
    register(
        ANF,
        name="anf",
        about="Only the input layer is sparse, so that noisy features are filtered out automatically.",
        source="Grooten et al., Automatic Noise Filtering with Dynamic Sparse Training in Deep RL, AAMAS",
        year=2023,
        own=("eligible",),
        departures=("One connection more than the fraction leaves in the code.",),
    )
    register(
        RLX2,
        name="rlx2",
        about="Smallest out, largest gradient in, every 10,000 steps; its targets and memory come with the presets.",
        source="Tan et al., RLx2: Training a Sparse Deep Reinforcement Learning Model from Scratch, ICLR",
        year=2023,
        departures=("Targets start with the online topology; theirs are dense until the first update.",),
    )
    register(
        RLX2_RELEASED,
        name="rlx2_released",
        about="As its code does it: the first topology keeps the largest initial weights.",
        source="released code of Tan et al., RLx2",
        year=2023,
        own=("initial",),
        departures=(
            "Targets start with the online topology; theirs are dense until the first update.",
            "SAC's growth score is the critic's own gradient; theirs has the actor's loss in it too.",
        ),
    )
    register(
        NE,
        name="ne",
        about="Grows by gradient, pruning what enters dormant units; then RigL. Its memory: `reviewed`.",
        source="Liu et al., Neuroplastic Expansion in Deep Reinforcement Learning, ICLR",
        year=2025,
        own=("schedule",),
        departures=(
            "As many leave as in the code, 0.4 of what enters, those of the least active units first; the paper prunes "
            "the units that are dormant.",
            "Layers grow in proportion to their final density; theirs each by 0.008 of the room below 0.8.",
        ),
    )
    register(
        NE_RELEASED,
        name="ne_released",
        about="As its code does it, which falls back to magnitude: grows from 0.2 to 0.75, pruning 0.4 of what enters.",
        source="released code of Liu et al., Neuroplastic Expansion in Deep Reinforcement Learning, ICLR",
        year=2025,
        own=("schedule",),
        departures=(
            "Layers grow in proportion to their final density; theirs each by 0.008 of the room below 0.8.",
            "Adam's step counter is not reset at events, a side effect of a branch of the code.",
        ),
    )
