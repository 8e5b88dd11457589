"""What an evaluation of a run is of: its name, the data, the model, and what a reader must know of both."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.base import progress
from engine.base.run_settings import EvaluateConfig
from engine.base.setting_values import ESTIMATED
from engine.evaluation import evaluation_files, settings_warnings
from engine.evaluation.class_mapping import ClassMapping
from engine.evaluation.evaluation_files import SplitPredictions
from engine.inference.predictor import first_prevalence
from engine.metrics.prior_shift import EstimatedShares
from engine.metrics.subject import Subject
from engine.runs import contract, lineage
from engine.runs import ensemble as run_groups
from engine.runs.run_directory import RunDirectory
from engine.shards import data_identity
from engine.shards.tfrecords import Manifest


def of_run(
    run: RunDirectory,
    shards: Path,
    manifest: Manifest,
    settings: EvaluateConfig,
    mapping: ClassMapping,
    class_names: Sequence[str],
) -> Subject:
    """The subject of an evaluation of a run on a split, with the name of its directory and its warnings.

    Args:
        manifest: that of the shards.
        mapping: which class of the run each class of the shards is.
        class_names: the run's.

    Raises:
        UserError: the prevalence of the settings does not fit the run.
    """
    trained_on, data = run.read_environment()["data"], data_identity.describe(manifest)
    split, model = settings.split, run.model_digest()
    name = evaluation_files.directory_name(split, trained_on=trained_on, data=data)
    averaged: tuple[str, ...] = ()
    warnings = warnings_about(trained_on, data, split)
    used = contract.read(run)
    if isinstance(run, run_groups.RunGroup):
        averaged = tuple(run_groups.names(run))
        name = evaluation_files.averaged_name(name, len(averaged), model)
        for member in run.members[1:]:
            warnings += warnings_about(member.read_environment()["data"], data, split)
    held_out_by, held_out_shared = _held_out(manifest, split)
    subject = Subject(
        name=name,
        split=split,
        shards=str(shards),
        fingerprint=data["fingerprint"],
        identity=data["identity"],
        model=model,
        threshold_rule=used.threshold_rule,
        classes=mapping.names,
        held_out_by=held_out_by,
        held_out_shared=held_out_shared,
        left_out=mapping.left_out,
        calibration=used.calibration,
        prevalence=first_prevalence(used, settings.prevalence),
        averaged=averaged,
        prevalence_estimated=settings.prevalence == ESTIMATED,
        flip_average=settings.flip_average,
    )
    counts = mapping.counts(manifest.splits[split].class_counts.values(), len(class_names))
    warnings += settings_warnings.about(subject, counts, class_names)
    return dataclasses.replace(
        subject,
        name=settings.name or evaluation_files.settings_name(name, subject, class_names),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def at_estimated_shares(
    subject: Subject,
    shares: EstimatedShares,
    predictions: SplitPredictions,
    class_names: Sequence[str],
) -> Subject:
    """The subject at shares that are known now; says what a reader must know of them."""
    subject = dataclasses.replace(subject, prevalence=shares.prevalence)
    counts = np.bincount(predictions.labels, minlength=len(class_names)).tolist()
    warnings = settings_warnings.about_shares(subject, counts, class_names)
    for warning in warnings:
        progress.say(f"warning: {warning}")
    return dataclasses.replace(subject, warnings=(*subject.warnings, *warnings))


def _held_out(manifest: Manifest, split: str) -> tuple[str | None, str | None]:
    """The rule that `build_tfrecords --hold-out` formed the split by, and which side kept the patients
    that both had; None of other splits."""
    recipe = manifest.audit.get("hold_out") or {}
    if recipe.get("split") != split:
        return None, None
    rules = [recipe.get("pattern"), (recipe.get("metadata") or {}).get("selection")]
    return " or ".join(rule for rule in rules if rule) or None, recipe.get("shared")


def warnings_about(trained_on: Mapping[str, Any], data: Mapping[str, Any], split: str) -> list[str]:
    """What a reader of the figures must know about the examples behind them.

    Args:
        trained_on, data: the run's data set and this one; see `data_identity.describe`.
    """
    warnings = []
    if split == "train":
        warnings.append(
            "the run was trained on this split; its figures say nothing about new images"
        )
    if split == "validation":
        warnings.append(
            "the best epoch and the threshold were chosen on this split, so its figures look better "
            "than they are"
        )
    differing = data_identity.differences(trained_on, data)
    if trained_on.get("fingerprint", data["fingerprint"]) != data["fingerprint"]:
        warnings.append(
            f"these shards come from other images than the run was trained on ({differing[0]}); "
            "they may share patients with its training split"
        )
    elif differing:
        warnings.append(
            "these shards split the run's images in another way; the run may have been trained on "
            f"some of them ({'; '.join(differing)})"
        )
    return [*warnings, *lineage.warnings_about(trained_on, data, split)]
