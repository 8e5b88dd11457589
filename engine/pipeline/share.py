"""Which part of every global batch this process reads."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Share:
    """The replicas that this process feeds, of all that share a global batch.

    Attributes:
        first: the number of the first of them, counted from 0.
        count: how many this process feeds.
        of: how many replicas there are in all.
    """

    first: int = 0
    count: int = 1
    of: int = 1


WHOLE = Share()
