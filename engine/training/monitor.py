"""How the monitored metric develops: the best epoch, plateaus, early stopping.

The state is plain values that go into a checkpoint, so that a resumed run decides as the undisturbed
one would have (Keras' own callbacks lose theirs).
"""

import dataclasses
import math

from engine.training.history import Row


def is_better(value: float, best: float | None, monitor: str) -> bool:
    """Whether `value` beats `best`: losses go down, all else goes up; NaN never does."""
    if math.isnan(value):
        return False
    if best is None:
        return True
    return value < best if monitor.endswith("loss") else value > best


@dataclasses.dataclass
class Progress:
    """How the monitored metric has fared.

    Of epochs that tie, that of the lowest validation loss is the best: a metric of ranks or counts
    stands still where it cannot rise, or where validation is small, while the probabilities still
    become better. Such an epoch is progress, to early stopping and plateaus too.

    Attributes:
        best_value, best_loss, best_epoch: the best so far, its validation loss, and when (epochs
            count from 1).
        stale_epochs: epochs since then.
        plateau_epochs: epochs since then, or since the learning rate was last reduced.
    """

    monitor: str
    best_value: float | None = None
    best_loss: float | None = None
    best_epoch: int = 0
    stale_epochs: int = 0
    plateau_epochs: int = 0

    def update(self, row: Row) -> bool:
        """Takes in an epoch; returns whether it is the best so far."""
        value, loss = row[self.monitor], row["val_loss"]
        ties = value == self.best_value
        if is_better(value, self.best_value, self.monitor) or (
            ties and is_better(loss, self.best_loss, "val_loss")
        ):
            self.best_value, self.best_epoch = value, int(row["epoch"])
            self.best_loss = None if math.isnan(loss) else loss
            self.stale_epochs = self.plateau_epochs = 0
            return True
        self.stale_epochs += 1
        self.plateau_epochs += 1
        return False

    def on_plateau(self, patience: int, epochs: int) -> bool:
        """Whether the learning rate is due for a reduction; if so the count starts again.

        Args:
            epochs: how many there have been in which progress was due; those before do not count.
        """
        if min(self.plateau_epochs, epochs) < patience:
            return False
        self.plateau_epochs = 0
        return True
