"""`--init-from`: weights of an earlier run or of a model file, taken wherever they fit.

Variables are matched by the path of their layer (`engine.networks.layer_paths`), then by the end of the
path where that is unambiguous, and by shape. Of a run the weights of its best epoch are taken as they were
trained, from its newest checkpoint. A model file holds standardized kernels folded into plain ones, from
which an equivalent standardized kernel is computed (`engine.networks.kernel_folding`).
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.base import files
from engine.base.config import UserError
from engine.networks import kernel_folding
from engine.runs.run_directory import RunDirectory
from engine.training import checkpoints

NAMES = "names"  # in a checkpoint's state: one name for each of the model's variables
_LINES = 12
_MODEL_SUFFIX = ".keras"

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Source:
    """Weights to start from: arrays by the path of their variable, and where they come from."""

    described: str
    arrays: dict[str, Array]

    @property
    def digest(self) -> str:
        """A SHA-256 (hex) over all names and arrays."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode() + array.tobytes())
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a source.

    Attributes:
        taken: the variables that were set.
        not_taken: those that keep their fresh values, and why.
        unused: the source's variables that nothing was set from.
    """

    taken: list[str]
    not_taken: dict[str, str]
    unused: list[str]


def check_source(path: Path, workdir: Path | None = None) -> None:
    """Raises `UserError` unless `path` looks like a run or a model file; needs no TensorFlow."""
    places = {path.resolve(), *path.resolve().parents}
    if workdir is not None and path.exists() and workdir.resolve() in places:
        raise UserError(
            f"--init-from {path}: lies in --workdir itself; continue a run with --resume, or give "
            "another --workdir"
        )
    run = RunDirectory(path)
    if path.is_dir():
        if not checkpoints.paths(run.checkpoints) and not run.model.is_file():
            raise UserError(
                f"--init-from {path}: holds no weights; expected a run with a finished epoch, or a "
                f"{_MODEL_SUFFIX} file"
            )
    elif not path.exists():
        raise UserError(f"--init-from {path}: no such run or file")
    elif path.suffix != _MODEL_SUFFIX:
        raise UserError(
            f"--init-from {path}: expected a run directory or a {_MODEL_SUFFIX} file of Keras 3"
        )


def read(path: Path) -> Source:
    """The weights of a run's best epoch, or of a model file.

    Raises:
        UserError: there are none, or they cannot be read.
    """
    check_source(path)
    if not path.is_dir():
        return _of_model_file(path)
    run = RunDirectory(path)
    checkpoint = checkpoints.load_newest(run.checkpoints)
    names = [] if checkpoint is None else checkpoint.state.get(NAMES, [])
    if checkpoint is None or not names:
        if run.model.is_file():
            return _of_model_file(run.model)
        raise UserError(f"--init-from {path}: its checkpoints are damaged, or of another version")
    places = {name: f"best/{i:04d}" for i, name in enumerate(names) if name is not None}
    stored = checkpoint.arrays
    arrays = {name: stored[place] for name, place in places.items() if place in stored}
    if not arrays:
        raise UserError(f"--init-from {path}: none of its epochs has finished yet")
    epoch = checkpoint.state["progress"]["best_epoch"]
    return Source(f"epoch {epoch} of {path}", arrays)


def _of_model_file(path: Path) -> Source:
    from engine.networks import layer_paths, saved_models

    try:
        model = saved_models.load(path)
    except Exception as error:
        reason = saved_models.reason(error)
        raise UserError(f"--init-from {path}: cannot be loaded ({reason})") from error
    variables = layer_paths.named_variables(model)
    return Source(str(path), {name: variable.numpy() for name, variable in variables.items()})


def take(model: Any, source: Source) -> Outcome:
    """Sets the model's variables from a source wherever name and shape agree.

    Args:
        model: a built Keras model.

    Raises:
        UserError: nothing of the source fits.
    """
    from engine.networks import layer_paths

    targets = layer_paths.named_variables(model)
    shapes = {name: tuple(variable.shape) for name, variable in targets.items()}
    fresh = {name: targets[name].numpy() for name in targets if name.endswith("/kernel")}
    found, not_taken, used = match(shapes, source.arrays, fresh)
    if not found:
        raise UserError(
            f"--init-from: no variable of {source.described} has the name and shape of one of this "
            f"network's; it has {', '.join(list(source.arrays)[:3])}, ..., the network "
            f"{', '.join(list(targets)[:3])}, ..."
        )
    for name, array in found.items():
        targets[name].assign(array)
    return Outcome(list(found), not_taken, [name for name in source.arrays if name not in used])


def match(
    shapes: Mapping[str, tuple[int, ...]], arrays: Mapping[str, Array], fresh: Mapping[str, Array]
) -> tuple[dict[str, Array], dict[str, str], set[str]]:
    """What a source's arrays give for variables of these names and shapes.

    Args:
        shapes: of the variables to set, by name.
        arrays: the source's, by name.
        fresh: the present values of kernels, by name.

    Returns:
        (arrays by variable, reasons by variable that gets none, the names of the arrays used).
    """
    pairs = _pairs(list(shapes), list(arrays))
    of_source = _by_layer(arrays)
    found: dict[str, Array] = {}
    reasons: dict[str, str] = {}
    used: set[str] = set()
    for layer, names in _by_layer(shapes).items():
        own: dict[str, Array | str] = {
            _last(name): arrays[pairs[name]] for name in names if name in pairs
        }
        source_layer = next((_layer(pairs[name]) for name in names if name in pairs), None)
        own |= _converted(layer, {_last(name) for name in names}, source_layer, arrays, fresh)
        for name in names:
            array = own.get(_last(name))
            if array is None:
                reasons[name] = f"{list(shapes[name])} here, not there"
            elif isinstance(array, str):
                reasons[name] = array
            elif array.shape != shapes[name]:
                reasons[name] = f"{list(shapes[name])} here, {list(array.shape)} there"
            else:
                found[name] = array
        if source_layer is not None and any(name in found for name in names):
            used |= set(of_source[source_layer])
    return found, reasons, used


def _layer(name: str) -> str:
    return name.rpartition("/")[0]


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _by_layer(names: Iterable[str]) -> dict[str, list[str]]:
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(_layer(name), []).append(name)
    return layers


def _pairs(targets: list[str], sources: list[str]) -> dict[str, str]:
    """Which source belongs to a target: of the same path, or alone with the same layer and variable."""
    pairs = {name: name for name in targets if name in set(sources)}
    rest_targets = _by_ending([name for name in targets if name not in pairs])
    rest_sources = _by_ending([name for name in sources if name not in set(pairs.values())])
    for ending, names in rest_targets.items():
        if len(names) == 1 and len(rest_sources.get(ending, ())) == 1:
            pairs[names[0]] = rest_sources[ending][0]
    return pairs


def _by_ending(names: list[str]) -> dict[str, list[str]]:
    """Names by their last two parts, layer and variable."""
    endings: dict[str, list[str]] = {}
    for name in names:
        endings.setdefault("/".join(name.split("/")[-2:]), []).append(name)
    return endings


def _converted(
    layer: str,
    wanted: set[str],
    source_layer: str | None,
    arrays: Mapping[str, Array],
    fresh: Mapping[str, Array],
) -> dict[str, Array | str]:
    """Kernel and gain where one side is a standardized convolution and the other a plain one.

    In place of a kernel that has no equivalent, the reason.
    """
    kernel, gain = arrays.get(f"{source_layer}/kernel"), arrays.get(f"{source_layer}/gain")
    if kernel is None or kernel.ndim != 4 or "kernel" not in wanted:
        return {}
    if "gain" in wanted and gain is None:
        start = fresh[f"{layer}/kernel"]
        if start.shape != kernel.shape:
            return {}
        pair = kernel_folding.unfolded(kernel, start)
        if pair is None:
            return {"kernel": "standardized here, there with channels of another mean than 0"}
        return dict(zip(("kernel", "gain"), pair, strict=True))
    if "gain" not in wanted and gain is not None:
        return {"kernel": kernel_folding.folded(kernel, gain)}
    return {}


def start_from(path: Path, model: Any, run: RunDirectory, *, say: Callable[[str], None]) -> None:
    """Sets a model's variables from a run or a model file, and records what was taken.

    Raises:
        UserError: nothing fits, or the run was begun with other weights of that name.
    """
    source = read(path)
    before = _recorded_digest(run)
    if before not in (None, source.digest):
        raise UserError(
            f"--init-from {path}: its weights have changed since {run.path} was started from them; "
            "train again with --overwrite"
        )
    outcome = take(model, source)
    files.write_json(
        run.initial_weights,
        {"source": str(path), "digest": source.digest, **dataclasses.asdict(outcome)},
    )
    for line in summary_lines(outcome, source, run.initial_weights):
        say(line)


def _recorded_digest(run: RunDirectory) -> str | None:
    try:
        return str(files.read_json(run.initial_weights)["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def summary_lines(outcome: Outcome, source: Source, record: Path) -> list[str]:
    """What was taken, and what was not, one line per layer."""
    total = len(outcome.taken) + len(outcome.not_taken)
    lines = [f"initial weights: {len(outcome.taken)} of {total} variables from {source.described}"]
    layers = _by_layer(outcome.not_taken)
    details = []
    for layer, names in layers.items():
        reasons = [f"{_last(name)} {outcome.not_taken[name]}" for name in names]
        details.append(f"not taken: {layer}: {', '.join(reasons)}")
    details += [f"not used: {layer}" for layer in _by_layer(outcome.unused) if layer not in layers]
    if len(details) > _LINES:
        more = f"and {len(details) - _LINES} more lines; all is in {record}"
        details = [*details[:_LINES], more]
    return lines + details
