"""`generalization`: how settings do on images unlike those that they were trained on.

Each candidate is trained with each seed on two divisions of the images: one that holds out a series
(`--hold-out`), and one drawn by patient. Each training is measured on the images held out, and on the sets
given with `--external`. Settings are to be chosen by the other series and cross-checked on validation; the
own split and external sets are reported, and choose nothing. The minutes are those of the trainings, without
the start-up of the commands. Finished trainings are kept in `--workdir` and not repeated.
"""

from benchmarks import candidates, generalization_data, outcomes
from benchmarks.context import Context
from benchmarks.generalization_runs import Training, TrainingError
from benchmarks.outcomes import Outcome
from benchmarks.reports import Report
from engine.base.run_settings import EvaluateConfig
from engine.metrics.estimate import number_text


def run(context: Context) -> Report:
    """Trains and measures what is not there yet, and reports all of it."""
    settings, sources = context.config, context.sources
    if sources.strata is not None:  # before hours of training
        EvaluateConfig.from_json({"strata": sources.strata}, source="--strata")
    chosen, missing = candidates.chosen(
        sources.candidates, settings.train_flags, quick=settings.quick
    )
    root = sources.workdir / "generalization"
    images = sources.images or context.phantoms()
    divisions = generalization_data.divide(
        images,
        root,
        hold_out=settings.hold_out,
        hold_out_shared=settings.hold_out_shared,
        image_size=settings.image_size,
        tell=context.tell,
    )
    external = [
        generalization_data.external(shards, divisions[0].manifest) for shards in sources.external
    ]
    seeds = range(1 if settings.quick else settings.num_seeds)
    # All candidates with one seed before any with the next: stopped early, it still compares them all.
    trainings = [
        Training(root, division, candidate, seed, watch_images=settings.watch_images)
        for seed in seeds
        for division in divisions
        for candidate in chosen
    ]
    found: list[Outcome] = []
    failed: dict[str, str] = {}
    for number, training in enumerate(trainings, 1):
        if not training.is_finished:
            place = f"{number}/{len(trainings)}: {training.name} (log: {training.log})"
            context.tell(f"training {place}")
        try:
            training.train()
        except TrainingError as error:
            failed[training.name] = str(error)
            context.tell(f"{training.name}: {error}")
            continue
        for division in (training.division, *external):
            outcome = training.measure(
                division, strata=sources.strata, target=settings.target_auroc
            )
            found.append(outcome)
            context.tell(f"{training.name}: AUROC {number_text(outcome.auroc)} on {division.name}")
    report = Report(
        "generalization", f"images unlike those trained on: median of {len(seeds)} seeds"
    )
    report.skipped = {**missing, **failed}
    report.outcomes = found
    report.target_auroc = settings.target_auroc
    report.sentences = outcomes.conclusions(found)
    report.commands = {
        training.candidate.name: training.shown() for training in reversed(trainings)
    }
    report.data = {
        "source": images.name,
        "image_shape": list(divisions[0].manifest.image_shape),
        "hold_out": settings.hold_out,
        "hold_out_shared": settings.hold_out_shared,
        "divisions": {
            division.name: {
                split: info.num_examples for split, info in division.manifest.splits.items()
            }
            for division in (*divisions, *external)
        },
    }
    return report
