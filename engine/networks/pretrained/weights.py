"""`--weights`: what a pretrained network starts from.

auto, imagenet    the network's weights of ImageNet
none              random weights
FILE              the arrays of a file, by layer; the classifier is always new
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.base.config import UserError
from engine.networks.pretrained import layer_arrays
from engine.networks.pretrained.layer_arrays import Arrays
from engine.networks.pretrained.preprocessing import Preprocessing

IMAGENET, NONE = ("auto", "imagenet"), "none"


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """Where one network's weights come from.

    Attributes:
        preprocessing: what the weights expect of the images.
        check_imagenet: raises `UserError` where the weights of ImageNet are not there; no TensorFlow.
        read_imagenet: their arrays by layer, for colour images.
        read_file: the arrays of a file by layer.
        suffixes: what its name ends in.
    """

    preprocessing: Preprocessing
    check_imagenet: Callable[[], object]
    read_imagenet: Callable[[], Arrays]
    read_file: Callable[[Path], Arrays] = layer_arrays.read
    suffixes: tuple[str, ...] = layer_arrays.SUFFIXES

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raises `UserError` where the weights that `settings` name are not there; no TensorFlow."""
        weights = settings["weights"]
        if weights in IMAGENET:
            self.check_imagenet()
        elif weights != NONE:
            self._check_file(Path(weights))

    def load(self, model: Any, weights: str) -> None:
        """Gives a network, the classifier apart, the weights that `--weights` names.

        Raises:
            UserError: they are not there, damaged, or of another network.
        """
        if weights == NONE:
            return
        if weights in IMAGENET:
            self.check_imagenet()
            arrays = self.read_imagenet()
        else:
            self._check_file(Path(weights))
            arrays = self.read_file(Path(weights))
        layer_arrays.assign(model, arrays, self.preprocessing, source=f"--weights {weights}")

    def _check_file(self, path: Path) -> None:
        if not path.exists():
            raise UserError(
                f"--weights {path}: no such file; expected imagenet, none, or a file ending in "
                f"{', '.join(self.suffixes)}"
            )
        if not path.is_file() or not path.name.endswith(self.suffixes):
            raise UserError(
                f"--weights {path}: expected a file ending in {', '.join(self.suffixes)}"
            )
