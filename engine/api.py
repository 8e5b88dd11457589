"""What `import engine` offers: each command as a function, without TensorFlow until one is called.

    import engine

    engine.inspect("images").warnings
    engine.build("images", "shards", image_size=128)
    engine.train("shards", "run", epochs=12)
    engine.evaluate("run", "shards").metrics["auroc"]
    engine.predict("run", "images/test")

Settings are keyword arguments under the names of the flags (`--global-batch-size` is `global_batch_size`).
What is wrong with an argument, a path or a file is an `engine.UserError` of one line. Progress goes to
standard error, as the commands print it.
"""

import contextlib
import dataclasses
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from engine.base import command_line
from engine.base.build_settings import BuildConfig
from engine.base.config import Config, UserError, read_settings
from engine.base.export_settings import ExportConfig
from engine.base.inspect_settings import InspectConfig
from engine.base.run_settings import (
    CompareConfig,
    EvaluateConfig,
    EvidenceConfig,
    PredictConfig,
    ReportConfig,
)
from engine.base.setting_names import did_you_mean
from engine.base.settings import TrainConfig
from engine.runs import ensemble, outputs

if TYPE_CHECKING:
    import keras

    from engine.evaluation.comparison import Comparison
    from engine.explaining.explained_files import Explanation
    from engine.inference.export.exporting import Exported
    from engine.inference.prediction import Prediction
    from engine.inference.predictor import Predictor
    from engine.inspection.inspection import Inspection
    from engine.metrics.evaluation import Evaluation
    from engine.shards.manifest import Manifest
    from engine.training.losses import Loss
    from engine.training.seeds import EnsembleResult
    from engine.training.trainer import Model, TrainResult

PathLike = str | os.PathLike[str]
Runs = PathLike | Sequence[PathLike]
ConfigType = TypeVar("ConfigType", bound=Config)


def build(images: PathLike, shards: PathLike, **settings: Any) -> "Manifest":
    """Builds TFRecord shards from an image folder, as `python -m engine.build_tfrecords` does.

    A build that was stopped is resumed, and a finished one is left alone.

    Args:
        images: a folder for each class, or train, val and test folders with one for each class.
        shards: the directory to write.
        settings: fields of `engine.base.build_settings.BuildConfig`, such as `image_size=224`,
            `channels=3`, `validation_fraction=0.1`, `hold_out="NORMAL2-|_virus_"`.

    Returns:
        What the directory holds: classes, image format, and per split the number of examples.

    Raises:
        UserError: the folder or the settings cannot be built from, or the directory holds another
            build or other files.
    """
    config = _configured(BuildConfig, None, settings, "build()")
    from engine.shards import builder

    return builder.build(config, Path(images), Path(shards))


def inspect(
    images: PathLike,
    *,
    run: Runs | None = None,
    html: PathLike | None = None,
    json: PathLike | None = None,
    **settings: Any,
) -> "Inspection":
    """Looks at a set of images, as `python -m engine.inspect_images` does.

    Args:
        images: an image folder as `build` takes it, or a directory of shards.
        run: made by `train`; labels that it confidently disagrees with are listed.
        html: where to write one page with figures and pictures; it contains images, paths and patient
            IDs, and must be protected as the images are.
        json: where to write everything that was found, with paths and patient IDs.
        settings: fields of `engine.base.inspect_settings.InspectConfig`, such as `samples=12`.

    Returns:
        Counts, sizes, single measures that separate the classes, patients, copies, leaks, unreadable files,
        doubted labels; `warnings` are the lines to look at.

    Raises:
        UserError: there are no images, none can be read, or the run does not fit them.
    """
    config = _configured(InspectConfig, None, settings, "inspect()")
    for name, path in (("html", html), ("json", json)):
        if path is not None:
            outputs.require_text_file(Path(path), name)
    outputs.require_distinct({"html": html, "json": json})
    from engine.inspection import inspecting

    return inspecting.inspect(
        Path(images),
        config,
        run=run,
        html=None if html is None else Path(html),
        json=None if json is None else Path(json),
    )


def train(
    shards: PathLike,
    workdir: PathLike,
    *,
    model: "Model | None" = None,
    loss: "Loss | str | None" = None,
    callbacks: "Sequence[keras.callbacks.Callback]" = (),
    init_from: PathLike | None = None,
    config: TrainConfig | Mapping[str, Any] | PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    diagnose: bool = False,
    num_seeds: int | None = None,
    **settings: Any,
) -> "TrainResult | EnsembleResult":
    """Trains a classifier on shards, as `python -m engine.train` does, and leaves a run directory.

    Ctrl-C and SIGTERM save the run after the current step before they take effect; `resume=True`
    continues it.

    Args:
        shards: made by `build`.
        workdir: the run directory to write.
        model: `cnn`, `tutorial`, `package.module:function`, `FILE.py:function`, a function from an
            `ImageFormat`, the number of classes and settings to a Keras model, or a Keras model; None
            for that of `config`.
        loss: `cross_entropy`, `focal`, `package.module:function`, `FILE.py:function`, or a function
            from labels int64[B] and logits float32[B, units] to float32[B].
        callbacks: Keras callbacks, called as `Model.fit` calls them.
        init_from: a run or a Keras file to take the initial weights from.
        config: settings to start from: a `TrainConfig`, a mapping, or a JSON file such as the
            `config.json` of another run. What a `TrainConfig` leaves at its default a pretrained network
            may set otherwise.
        resume: continue the run in `workdir`; with more `epochs`, under a constant schedule, extend it.
        overwrite: remove the run in `workdir` first.
        diagnose: when done, measure whether input or step limited the speed.
        num_seeds: train so many runs, with the seed of the settings and those after it, into
            `workdir/seed-<n>`; `evaluate` and `predict` average them. Not with callbacks or `diagnose`.
        settings: fields of `engine.base.settings.TrainConfig`, such as `epochs=12`, and the keyword
            parameters of a function given as `model`; they override those of `config`.

    Returns:
        The best epoch and its metric, the history, the threshold, and the speed; of several seeds their
        directories, and the threshold of their average.

    Raises:
        UserError: shards, settings or `workdir` are wrong, or do not fit each other.
        engine.training.trainer.DivergenceError: the loss became infinite or NaN.
    """
    from engine.networks import registry
    from engine.training import train_arguments

    if init_from is not None:
        settings["init_from"] = os.fspath(init_from)
    base = _configured(TrainConfig, config, {}, "train()")
    network = registry.resolve(base.model if model is None else model)
    values = registry.sorted_settings(network, settings)
    own = [parameter.name for parameter in network.parameters]
    configured = _configured(TrainConfig, base, values, "train()", also_known=own)
    configured = registry.with_defaults(network, configured, _given(config) | values.keys())
    configured = registry.checked(network, configured, given=values.keys() - {"model_settings"})
    configured = train_arguments.with_loss(configured, loss)
    places = Path(shards), Path(workdir)
    if num_seeds is not None:
        if callbacks or diagnose:
            given = "callbacks" if callbacks else "diagnose"
            raise UserError(f"train(): {given} is for one training; leave out num_seeds")
        train_arguments.check_seeds(
            configured, *places, num_seeds, resume=resume, overwrite=overwrite
        )
        with _quiet_imports():
            from engine.training import seeds

        with _saved_first() as should_stop:
            return seeds.train_seeds(
                configured,
                *places,
                num_seeds=num_seeds,
                should_stop=should_stop,
                model=network,
                loss=loss,
                resume=resume,
                overwrite=overwrite,
            )
    train_arguments.check_start(configured, *places, resume=resume, overwrite=overwrite)
    with _quiet_imports():
        from engine.training import trainer

    with _saved_first() as should_stop:
        return trainer.train(
            configured,
            *places,
            model=network,
            loss=loss,
            callbacks=callbacks,
            diagnose=diagnose,
            resume=resume,
            overwrite=overwrite,
            should_stop=should_stop,
        )


def evaluate(run: Runs, shards: PathLike, *, split: str = "test", **settings: Any) -> "Evaluation":
    """Measures a run on a split, with intervals over patients, as `python -m engine.evaluate` does.

    Writes the figures to `RUN/evaluation/NAME` and updates `RUN/report.md`.

    Args:
        run: made by `train`; several are averaged, and the results go to the first one's directory.
        shards: made by `build`, of the run's image format.
        split: the split to measure.
        settings: further fields of `engine.base.run_settings.EvaluateConfig`, such as `name="other"`,
            `shifts=True`, `classes="healthy=NORMAL,sick=PNEUMONIA"`, `strata="metadata.csv:view,sex"`.

    Raises:
        UserError: the run or the shards are missing or do not fit each other, or a setting is wrong.
    """
    config = _configured(EvaluateConfig, {"split": split}, settings, "evaluate()")
    measured = ensemble.opened(run)
    measured.require_trained()
    with _quiet_imports():
        from engine.evaluation import run_evaluation

    return run_evaluation.evaluate_run(measured, Path(shards), **config.to_json())


def compare(
    runs: Sequence[PathLike],
    *,
    baseline: PathLike | None = None,
    output: PathLike | None = None,
    **settings: Any,
) -> "Comparison":
    """Compares runs on the same images with paired tests, as `python -m engine.compare` does.

    Args:
        runs: two or more that were evaluated: run directories, ensembles, or evaluations
            (`RUN/evaluation/NAME`).
        baseline: what the others are compared with; None: the first.
        output: where to write `compare.md`, `compare.json` and `compare_roc.png`; None writes nothing.
        settings: fields of `engine.base.run_settings.CompareConfig`, such as `split="external"`.

    Raises:
        UserError: a run has no such evaluation, or they are not of the same images.
    """
    config = _configured(CompareConfig, None, settings, "compare()")
    several = [runs] if isinstance(runs, (str, os.PathLike)) else list(runs)
    if output is not None:
        outputs.require_directory(Path(output), "output")
    with _quiet_imports():
        from engine.evaluation import comparison, comparison_files

    values = dataclasses.asdict(config)
    formats = values.pop("figures")
    found = comparison.compare_runs(
        [os.fspath(run) for run in several],
        baseline=None if baseline is None else os.fspath(baseline),
        **values,
    )
    if output is not None:
        comparison_files.write(found, Path(output), formats=formats)
    return found


def report(run: PathLike, **settings: Any) -> dict[str, Path]:
    """Writes a run's report and model card again, as `python -m engine.report` does.

    Args:
        run: made by `train`, or an ensemble.
        settings: fields of `engine.base.run_settings.ReportConfig`: `html="page.html"`,
            `output="README.md"`, `template=True`.

    Returns:
        What was written: `report`, `model card`, and with the settings `page`, `card` and `template`.

    Raises:
        UserError: there is no such run, its `card.md` cannot be read, or a file cannot be written.
    """
    texts = {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in settings.items()
    }
    config = _configured(ReportConfig, None, texts, "report()")
    from engine.runs import report_files

    return report_files.write(
        ensemble.opened(run), html=config.html, output=config.output, template=config.template
    )


def predict(run: Runs, paths: PathLike | Iterable[PathLike], **settings: Any) -> "list[Prediction]":
    """Predicts the class of image files, as `python -m engine.predict` does.

    Files that cannot be read are named on standard error and left out.

    Args:
        run: made by `train`; several are averaged.
        paths: an image, a folder (searched through) or a glob, or several of them.
        settings: fields of `engine.base.run_settings.PredictConfig`, such as `batch_size=64`.

    Returns:
        For each image its path, probability, class, the probabilities of all classes, and the spread of
        several runs; in the order of `paths`, folders and globs sorted.

    Raises:
        UserError: the run is missing or damaged, or the paths hold no image that can be read.
    """
    config = _configured(PredictConfig, None, settings, "predict()")
    texts = _texts(paths)
    with _quiet_imports():
        from engine.inference import prediction

    batches = prediction.predict_files(ensemble.opened(run), texts, config)
    return [found for batch in batches for found in batch]


def explain(
    run: Runs, paths: PathLike | Iterable[PathLike], **settings: Any
) -> "list[Explanation]":
    """Finds where in image files a run sees the evidence for a class, as `python -m engine.explain` does.

    Files that cannot be read are named on standard error and left out.

    Args:
        run: made by `train`; several are averaged.
        paths: an image, a folder (searched through) or a glob, or several of them.
        settings: fields of `engine.base.run_settings.EvidenceConfig`, such as `method="occlusion"`,
            `target="PNEUMONIA"`.

    Returns:
        For each image its path, the predicted class and its probability, the class explained, and the evidence,
        float32[h, w]; `explanation.on_image(size)` is that of each pixel of the file.

    Raises:
        UserError: the run is missing or damaged, the paths hold no image that can be read, or the network has no such
            layer.
    """
    config = _configured(EvidenceConfig, None, settings, "explain()")
    texts = _texts(paths)
    with _quiet_imports():
        from engine.explaining import explained_files

    batches = explained_files.explain_files(ensemble.opened(run), texts, config)
    return [found for batch in batches for found in batch]


def export(
    run: Runs,
    output: PathLike | None = None,
    *,
    shards: PathLike | None = None,
    images: PathLike | Iterable[PathLike] = (),
    overwrite: bool = False,
    **settings: Any,
) -> "Exported":
    """Writes a run in a format for others, as `python -m engine.export` does, and runs what it wrote.

    Args:
        run: made by `train`; several are averaged in the exported model.
        output: the directory to write; None: `RUN/exports/FORMAT`.
        shards: what to check the export on; None: those of the training, if they are still there.
        images: the same, as an image, a folder or a glob, or several of them.
        overwrite: whether to replace an earlier export.
        settings: fields of `engine.base.export_settings.ExportConfig`, such as `format="litert"`,
            `quantize="int8"`.

    Returns:
        The directory, its metadata, and how the export compares with the run.

    Raises:
        UserError: the run, the images or a setting are wrong, something else lies in the way, or a package
            is missing.
        engine.inference.export.verification.DisagreementError: the export computes something else than the run,
            and was removed.
    """
    config = _configured(ExportConfig, None, settings, "export()")
    with _quiet_imports():
        from engine.inference.export import exporting

    return exporting.export_run(
        ensemble.opened(run),
        config,
        output=None if output is None else Path(output),
        shards=None if shards is None else Path(shards),
        images=_texts(images),
        overwrite=overwrite,
    )


def load(
    run: Runs,
    *,
    batch_size: int = 64,
    prevalence: float | str | None = None,
    flip_average: bool = False,
) -> "Predictor":
    """A run's model, ready to give probabilities of arrays.

    Args:
        run: made by `train`; several are averaged.
        batch_size: the one batch size that the model is compiled for; smaller batches are padded.
        prevalence: the share of the positive class where the images come from, or that of each class,
            as `"0.7,0.2,0.1"`; None for the share that training implied.
        flip_average: whether to average over each image and its mirror image.

    Raises:
        UserError: the directory holds no trained run, or one that cannot be read; or the prevalence
            does not fit it.
    """
    loaded = ensemble.opened(run)
    loaded.require_trained()
    with _quiet_imports():
        from engine.inference import ensemble as predictors

    text = None if prevalence is None else str(prevalence)
    return predictors.load(
        loaded, batch_size=batch_size, prevalence=text, flip_average=flip_average
    )


def _texts(paths: PathLike | Iterable[PathLike]) -> list[str]:
    """One path or several, as commands are given them."""
    several = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    return [os.fspath(path) for path in several]


@contextlib.contextmanager
def _quiet_imports() -> Iterator[None]:
    """As the commands import TensorFlow, whose log the user may ask for by `TF_CPP_MIN_LOG_LEVEL=0`."""
    command_line.quieten_tensorflow()
    with command_line.quiet_imports():
        yield


def _configured(
    config_class: type[ConfigType],
    config: ConfigType | Mapping[str, Any] | PathLike | None,
    settings: Mapping[str, Any],
    source: str,
    also_known: Sequence[str] = (),
) -> ConfigType:
    """`config` with `settings` over it.

    Args:
        also_known: names of further settings, which may be meant by one that is mistyped.

    Raises:
        UserError: there is no setting of such a name, or a value is not one that it takes.
    """
    fields = [field.name for field in dataclasses.fields(config_class)]
    for name in settings:
        if name not in fields:
            hint = did_you_mean(name, [*also_known, *fields])
            raise UserError(f"{source}: no setting is called {name!r}{hint}")
    values: Mapping[str, Any] = {}
    if isinstance(config, config_class):
        values = config.to_json()
    elif isinstance(config, Mapping):
        values = config
    elif isinstance(config, (str, os.PathLike)):
        values = read_settings(Path(config))
        config_class.from_json(values, source=os.fspath(config))
    elif config is not None:
        raise UserError(
            f"{source}: config: got {type(config).__name__}, expected a {config_class.__name__}, a "
            "mapping or the path of a JSON file"
        )
    merged = {**values, **settings}
    own, below = settings.get("model_settings"), values.get("model_settings")
    if isinstance(own, Mapping) and isinstance(below, Mapping):
        merged["model_settings"] = {**below, **own}
    return config_class.from_json(merged, source=source)


def _given(config: Config | Mapping[str, Any] | PathLike | None) -> set[str]:
    """The settings that a configuration gives; one of the engine's gives those that are no defaults."""
    if config is None:
        return set()
    if isinstance(config, Config):
        usual, own = type(config)().to_json(), config.to_json()
        return {name for name, value in own.items() if value != usual[name]}
    return set(config if isinstance(config, Mapping) else read_settings(Path(config)))


@contextlib.contextmanager
def _saved_first() -> Iterator[Any]:
    """Yields what to ask whether to stop; a signal that said so takes effect at the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    with command_line.StopFlag() as stop:
        yield stop
    if stop.signal_number is not None:
        signal.raise_signal(stop.signal_number)
