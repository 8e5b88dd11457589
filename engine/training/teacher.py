"""Whether a trained run can teach a training (`--distill-from`); needs no TensorFlow."""

from pathlib import Path

from engine.base.config import UserError
from engine.runs import contract, ensemble
from engine.shards.manifest import Manifest


def check(source: Path, workdir: Path, manifest: Manifest) -> None:
    """Raises `UserError` unless a run or an ensemble knows the images and classes of the shards."""
    found, target = source.resolve(), workdir.resolve()
    if found == target or found in target.parents or target in found.parents:
        raise UserError(
            f"--distill-from {source}: lies in --workdir, or --workdir in it; give another --workdir"
        )
    teacher = ensemble.opened(source)
    teacher.require_trained()
    known = contract.stored(teacher)
    pairs = {
        "classes": (known.class_names, manifest.class_names),
        "image size": (known.image_format.image_size, manifest.image_size),
        "channels": (known.image_format.channels, manifest.channels),
    }
    for name, (learned, here) in pairs.items():
        if learned != here:
            raise UserError(
                f"--distill-from {source}: its {name} are {learned}, those of the shards {here}; expected "
                "a run that was trained on the same classes and image format"
            )
