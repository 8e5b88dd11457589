"""A table of measured images without any image, for tests of what is computed from measures."""

import numpy as np

from engine.images.image_folder import Example
from engine.inspection.image_table import MEASURES, ImageTable


def table(labels, *, splits=None, patients=None, names=("a", "b"), headers=None, **measures):
    """Images with given measures; what is not given is the same for all."""
    count = len(labels)
    splits = splits or [""] * count
    patients = patients or [""] * count
    examples = tuple(
        Example(f"{place}.png", names[label], split, patient)
        for place, (label, split, patient) in enumerate(zip(labels, splits, patients, strict=True))
    )
    values = {name: np.full(count, 7.0) for name in MEASURES}
    values.update({name.replace("_", " "): np.asarray(v, float) for name, v in measures.items()})
    return ImageTable(
        examples=examples,
        class_names=tuple(names),
        headers=headers or (None,) * count,
        measures=values,
        hashes=np.zeros((count, 32), np.uint8),
        is_blank=np.zeros(count, bool),
        keys=tuple(str(place) for place in range(count)),
        mean_images={},
    )
