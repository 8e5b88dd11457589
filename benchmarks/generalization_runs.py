"""Trainings of the suite `generalization`: each a command, each kept, none repeated.

    WORKDIR/<series|own>-<data>/<candidate>-<settings>/seed-<n>/run           an ordinary run
                                                               watched.json  its AUROC on the other series
                                                               elapsed.json  seconds of its commands
                                                               log.txt       what they printed

A training that was killed is resumed, one that is finished is not trained again, and an evaluation of the
same model on the same data is not repeated. What has other settings or other data is another training; a
setting that is new since a run, with its default, makes no difference.
"""

import csv
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import outcomes
from benchmarks.candidates import Candidate
from benchmarks.generalization_data import Division
from benchmarks.outcomes import Outcome
from benchmarks.peer_process import ROOT
from engine import api
from engine.base import files
from engine.base.config import UserError
from engine.metrics.evaluation import Evaluation
from engine.runs import ensemble, stored_evaluations
from engine.runs.run_directory import RunDirectory

_RESAMPLES = 200  # intervals over patients are not shown here: the range over seeds is


class TrainingError(Exception):
    """A training failed; the message holds its last line."""


class Training:
    """One candidate with one seed on one division.

    Args:
        root: the directory of all trainings.
        watch_images: how many images of the held-out series are watched; 0 for none. Only trainings on
            the series split are watched, and no ensembles.
    """

    def __init__(
        self, root: Path, division: Division, candidate: Candidate, seed: int, *, watch_images: int
    ) -> None:
        self.division, self.candidate, self.seed = division, candidate, seed
        kind = "series" if division.name == outcomes.SERIES else "own"
        self.place = _place(root / f"{kind}-{division.identity[:8]}", candidate, seed)
        self.run, self.log = self.place / "run", self.place / "log.txt"
        self._record, self._elapsed = self.place / "watched.json", self.place / "elapsed.json"
        watched = division.name == outcomes.SERIES and candidate.num_seeds is None
        self._watch_images = watch_images if watched else 0

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.candidate.name}, {self.division.name}, seed {self.seed}"

    @property
    def is_finished(self) -> bool:
        """Whether it need not be trained."""
        done = all(member.training_summary.is_file() for member in self._members())
        return (
            done
            and self._opened().has_contract
            and (self._record.is_file() or not self._watch_images)
        )

    def command(self) -> list[str]:
        """The arguments of the command, after `python`."""
        words = [
            *(str(self.division.shards.resolve()), "--workdir", str(self.run.resolve())),
            *self.candidate.flags,
            *self.candidate.seed_flags(self.seed),
            "--resume",
        ]
        if not self._watch_images:
            return ["-m", "engine.train", *words]
        watching = ("--watch", self.division.held_out, "--watch-images", str(self._watch_images))
        record = ("--record", str(self._record.resolve()))
        return ["-m", "benchmarks.watched_training", *words, *watching, *record]

    def shown(self) -> str:
        """The training as a user would type it."""
        return shlex.join(
            [
                *("python", "-m", "engine.train", "SHARDS", "--workdir", "RUN"),
                *self.candidate.flags,
                *self.candidate.seed_flags(self.seed),
            ]
        )

    def train(self) -> None:
        """Trains, or resumes; returns at once where it is finished.

        Raises:
            TrainingError: the command failed.
        """
        if self.is_finished:
            return
        self.place.mkdir(parents=True, exist_ok=True)
        started, before = time.monotonic(), self._elapsed_seconds()
        with open(self.log, "a", encoding="utf-8") as log:
            child = subprocess.Popen(
                [sys.executable, *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            try:
                status = child.wait()
            finally:
                if child.poll() is None:  # this command was stopped: so is the training, saved
                    child.terminate()
                    child.wait()
                elapsed = before + time.monotonic() - started
                files.write_json(self._elapsed, {"seconds": elapsed})
        if status or not self.is_finished:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise TrainingError(f"ended with status {status}: {(lines or ['no message'])[-1]}")

    def measure(self, on: Division, *, strata: str | None, target: float) -> Outcome:
        """The figures on the held-out split of a division.

        Args:
            strata: as `engine.evaluate --strata` takes it, for external sets.
            target: the AUROC that minutes are counted to.
        """
        own = on.name == self.division.name
        found = self._evaluated(on, own, None if own else strata)
        watched = files.read_json(self._record) if self._watch_images else {}
        metrics: dict[str, Any] = {n: found.metrics[n].value for n in outcomes.METRICS}
        return Outcome(
            candidate=self.candidate.name,
            trained_on=self.division.name,
            measured_on=on.name,
            seed=self.seed,
            **metrics,
            threshold=found.threshold,
            validation_auroc=self._validation_auroc(),
            minutes=(self._seconds() - watched.get("own_seconds", 0.0)) / 60,
            minutes_to_target=outcomes.minutes_to(
                watched.get("aurocs", []), watched.get("seconds", []), target
            ),
            **_of_strata(found.to_json().get("strata", [])),
        )

    def _evaluated(self, on: Division, own: bool, strata: str | None) -> Evaluation:
        """The stored evaluation, or a new one."""
        name = on.held_out if own else f"{on.name}-{on.identity[:8]}"
        run = self._opened()
        try:
            stored = stored_evaluations.read(run.evaluation(name))
            subject = stored.subject
            known = (
                subject
                and (subject.identity, subject.model) == (on.identity, run.model_digest())
                and subject.split == on.held_out
                and subject.classes is None
                and subject.prevalence is None
                and not subject.averaged
            )
            # Whether it was by the same strata is not recorded: with strata it is measured again.
            if known and strata is None:
                return stored
        except UserError:
            pass  # none yet
        settings: dict[str, Any] = {"strata": strata} if strata else {}
        return api.evaluate(
            self.run, on.shards, split=on.held_out, name=name, resamples=_RESAMPLES, **settings
        )

    def _opened(self) -> RunDirectory:
        return ensemble.opened(self.run)

    def _members(self) -> tuple[RunDirectory, ...]:
        run = self._opened()
        return run.members or (run,)

    def _seconds(self) -> float:
        """Of the training; of an ensemble, whose members train one after the other, those of the command."""
        members = self._members()
        if len(members) > 1:
            return self._elapsed_seconds()
        return files.read_json(members[0].training_summary)["seconds"]

    def _elapsed_seconds(self) -> float:
        """Of all commands so far that trained here."""
        return files.read_json(self._elapsed)["seconds"] if self._elapsed.is_file() else 0.0

    def _validation_auroc(self) -> float | None:
        """Of the best epoch; None for ensembles."""
        members = self._members()
        if len(members) > 1:
            return None
        epoch = files.read_json(members[0].training_summary)["best_epoch"]
        with open(members[0].history, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return next(float(row["val_auroc"]) for row in rows if int(row["epoch"]) == epoch)


def _place(base: Path, candidate: Candidate, seed: int) -> Path:
    """Where a training of these settings is, under whatever name, or is to be."""
    if candidate.num_seeds is None:
        for config in sorted(base.glob(f"*/seed-{seed}/run/config.json")):
            if candidate.matches(files.read_json(config), seed):
                return config.parent.parent
    short = re.sub(r"\W+", "_", candidate.name)[:40]
    return base / f"{short}-{candidate.digest}" / f"seed-{seed}"


def _of_strata(columns: list[Mapping[str, Any]]) -> dict[str, Any]:
    """`within` and `probes` of an outcome, out of the strata in `metrics.json`."""
    within, probes = {}, {}
    for column in columns:
        if (value := column["auroc_within"]["value"]) is not None:
            within[column["column"]] = value
        found = [(probe, probe["auroc"]["value"]) for probe in column["shortcut_probes"]]
        for probe, value in found:
            if value is not None:
                probes[f"{column['column']} {probe['stratum']} in {probe['class']}"] = value
    return {"within": within, "probes": probes}
