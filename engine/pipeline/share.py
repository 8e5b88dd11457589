"""Which part of every global batch is read here."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Share:
    """The replicas that are fed here, of those that share a global batch.

    Attributes:
        first: the number of the first of them, counted from 0.
        count: how many are fed here, from `first` on.
        of: how many replicas there are in all.
    """

    first: int = 0
    count: int = 1
    of: int = 1


WHOLE = Share()
