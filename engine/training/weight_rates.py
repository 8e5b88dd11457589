"""How fast each weight learns, as a share of the learning rate, and which ones wait at first."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class WeightRates:
    """Of each weight, in the order that the optimizer is built for; nothing of any if all learn alike.

    Attributes:
        factors: on the learning rate, and so on the decay of weights too.
        waiting: whether it joins after others have been trained alone; its own step is counted from there.
        warmup_steps: over which the rate of those that waited rises from 0, once they join.
    """

    factors: tuple[float, ...] = ()
    waiting: tuple[bool, ...] = ()
    warmup_steps: int = 0


ALL_ALIKE = WeightRates()
