"""`export_run(run, settings)`: writes a trained run in a format for others, and runs what it wrote.

`python -m engine.export` and `engine.export(...)` call it. A directory is written aside, the export in it is
loaded and compared with the run on the same images, and only one that agrees takes its place.
"""

import dataclasses
import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.base import progress
from engine.base.config import UserError
from engine.base.export_settings import ExportConfig
from engine.inference import ensemble
from engine.inference.export import checked_images, export_directory, metadata, verification
from engine.inference.export.checked_images import CheckedImages
from engine.inference.export.verification import Verification
from engine.inference.predictor import deciding_threshold, wanted_prevalence
from engine.runs import contract as contracts
from engine.runs.contract import InferenceContract
from engine.runs.run_directory import RunDirectory

BATCH_SIZE = 32
# What a format needs besides TensorFlow: module -> package.
_PACKAGES = {
    "saved_model": {},
    "litert": {"ai_edge_litert": "ai-edge-litert"},
    "onnx": {"tf2onnx": "tf2onnx", "onnx": "onnx", "onnxruntime": "onnxruntime"},
    "joblib": {"joblib": "joblib"},
}
_PICKLE_WARNING = (
    "warning: joblib files are pickles, and loading one runs whatever code it holds: load only files "
    "whose maker you trust"
)
# By quantization, before the user is warned:
_MOST_LOST_AUROC = 0.005
_MOST_CHANGED_LABELS = 0.02  # as a share of the images
_LARGEST_SHIFT = 0.1  # of a probability


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the directory; of a SavedModel that of its version.
        metadata: the contents of its `metadata.json`.
        verification: how it compares with the run.
    """

    path: Path
    metadata: dict[str, Any]
    verification: Verification

    def lines(self) -> list[str]:
        """For the terminal."""
        found = self.verification.lines()
        return [*found, _PICKLE_WARNING] if self.metadata["format"] == "joblib" else found


def export_run(
    run: RunDirectory,
    settings: ExportConfig,
    *,
    output: Path | None = None,
    shards: Path | None = None,
    images: Sequence[str] = (),
    overwrite: bool = False,
) -> Exported:
    """Exports a run, an ensemble, or several runs that are averaged.

    Args:
        output: the directory to write; None: `RUN/exports/FORMAT`. A SavedModel goes to NAME/VERSION in it.
        shards: what to check the export on, and to take int8 ranges from; None: the shards of the training,
            if they are still there.
        images: the same, as files, folders and globs.
        overwrite: whether to replace an earlier export.

    Raises:
        UserError: the run, the settings or the images cannot be used, something else lies in the way, or a
            package is missing. All but damage is found before TensorFlow is imported.
        DisagreementError: the export computes something else than the run, and was removed.
    """
    run.require_trained()
    require_packages(settings.format)
    contract = contracts.read(run)
    prevalence = wanted_prevalence(contract, settings.prevalence)
    place = export_directory.place_of(run, settings, output)
    export_directory.require_free(place, overwrite=overwrite)
    source = checked_images.find_source(run, contract, settings, shards=shards, paths=images)
    progress.say("loading TensorFlow and the model ...")
    predictor = ensemble.load(
        run, batch_size=BATCH_SIZE, prevalence=settings.prevalence, precisions=()
    )
    from engine.inference.export import calibrated_model

    checked = source.read(contract, settings)
    progress.say(f"running the model on {checked.described} ...")
    expected = predictor.predict(checked.images)
    model = calibrated_model.build(run, prevalence=prevalence)
    writer = _Writer(model, contract, settings, deciding_threshold(contract, prevalence))
    described = metadata.describe(
        run, contract, settings, prevalence=prevalence, **writer.described()
    )
    with export_directory.written_aside(place, overwrite=overwrite) as aside:
        progress.say(f"converting to {settings.format} ...")
        writer.write(aside, described, checked)
        progress.say("running what was written ...")
        found = writer.verified(aside, expected, checked)
        is_float = settings.quantize is None
        found.require_agreement(verification.LARGEST_DIFFERENCE if is_float else 1.0)
        complete = {
            **described,
            "verification": found.to_json(),
            "files": export_directory.files_in(aside),
        }
        metadata.write(aside / writer.metadata_directory, complete)
    _warn_of_loss(settings, found)
    return Exported(place, complete, found)


def require_packages(format_name: str) -> None:
    """Raises `UserError` unless the packages that a format needs are installed."""
    needed = _PACKAGES[format_name]
    missing = [package for module, package in needed.items() if not _is_installed(module)]
    if missing:
        raise UserError(
            f"--format {format_name} needs {', '.join(missing)}; install with: pip install -e '.[export]'"
        )


class _Writer:
    """Writes, loads and runs one format."""

    def __init__(
        self,
        model: Any,
        contract: InferenceContract,
        settings: ExportConfig,
        threshold: float | None,
    ) -> None:
        self.model, self.contract, self.settings = model, contract, settings
        self.threshold = threshold
        self.module = importlib.import_module(f"{__package__}.{settings.format}")
        # Inside of a SavedModel, what belongs to it without being part of its graph.
        is_saved_model = settings.format == "saved_model"
        self.metadata_directory = "assets.extra" if is_saved_model else "."

    def described(self) -> dict[str, Any]:
        names = self.contract.class_names
        found: dict[str, Any] = self.module.described(self.contract.image_format, len(names))
        return found

    def write(self, directory: Path, described: dict[str, Any], checked: CheckedImages) -> None:
        options: dict[str, Any] = {"metadata": described}
        if self.settings.format == "saved_model":
            options = {
                "image_format": self.contract.image_format,
                "class_names": self.contract.class_names,
                "threshold": self.threshold,
                "max_pixels": self.settings.max_pixels,
            }
        if self.settings.format == "litert":
            options["representative"] = checked.representative
        self.module.write(self.model, directory, **options)

    def verified(self, directory: Path, expected: Any, checked: CheckedImages) -> Verification:
        expected = verification.both_columns(expected)
        of_files = None
        if self.settings.format == "litert":
            of_arrays = self.module.run(directory, checked.images)
        elif self.settings.format == "saved_model":
            of_arrays, of_files, valid = self.module.run(
                directory, checked.images, checked.files, batch_size=BATCH_SIZE
            )
        else:
            of_arrays = self.module.run(directory, checked.images, batch_size=BATCH_SIZE)
        found = verification.compared(
            expected,
            of_arrays,
            images=checked.described,
            threshold=self.threshold,
            labels=checked.labels,
        )
        if of_files is None:
            return found
        return dataclasses.replace(
            found,
            largest_file_difference=verification.largest_difference(
                expected[valid], of_files[valid]
            ),
            num_files_not_valid=int((~valid).sum()),
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _warn_of_loss(settings: ExportConfig, verification: Verification) -> None:
    if settings.quantize is None:
        return
    changed, count = verification.num_labels_changed, verification.num_images
    if changed > _MOST_CHANGED_LABELS * count or verification.largest_difference > _LARGEST_SHIFT:
        progress.say(
            f"warning: {settings.quantize} changes {changed} of {count} predicted classes, and "
            f"probabilities by up to {verification.largest_difference:.2f}; threshold and calibration were "
            "chosen for the float model, so measure this one before it is used"
        )
    before, after = verification.auroc, verification.auroc_exported
    if before is not None and after is not None and before - after > _MOST_LOST_AUROC:
        progress.say(
            f"warning: {settings.quantize} loses {before - after:.4f} of AUROC on these images; try a "
            "larger --num-representative, or leave --quantize out"
        )
