"""Named settings of trainings that are compared: each is a list of flags of `engine.train`.

A file of candidates is a JSON object, name -> settings: either flags in one text, or an object of settings
as in a run's `config.json`:

    {"batch norm, 10 epochs": "--normalization batch --epochs 10",
     "strong": {"augment": "strong", "weight_decay": 0.05}}
"""

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from engine.base.config import UserError, read_settings, shown
from engine.base.setting_names import flag_name
from engine.base.settings import TrainConfig
from engine.networks import model_flags, registry
from engine.training import train_arguments

DEFAULT, PRETRAINED, GIVEN = "default", "pretrained", "given settings"
PRETRAINED_MODEL = "efficientnet_lite0"
# What a suite decides for all candidates alike, or what leads out of a single training.
_NOT_OURS = ("seed", "workdir", "resume", "overwrite", "preview_augmentation", "diagnose")


@dataclasses.dataclass(frozen=True)
class Candidate:
    """The settings of one candidate.

    Attributes:
        flags: of `engine.train`, without data, directory and seed.
        config: all settings that these flags give, defaults included.
        num_seeds: members, where it is an ensemble.
    """

    name: str
    flags: tuple[str, ...]
    config: TrainConfig
    num_seeds: int | None = None

    @property
    def digest(self) -> str:
        """Over all settings but the seed."""
        values = {**self.config.to_json(), "seed": None, "num_seeds": self.num_seeds}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:10]

    def matches(self, stored: Mapping[str, Any], seed: int) -> bool:
        """Whether a run with this `config.json` is the one that this candidate would train.

        Settings that the run does not know, as they came later, count as their defaults.
        """
        try:
            config = TrainConfig.from_json(stored, source="config.json")
        except UserError:
            return False  # of an earlier version
        return config == dataclasses.replace(self.config, seed=seed)

    def seed_flags(self, seed: int) -> list[str]:
        """`--seed`; ensembles take as many seeds as they have members."""
        return ["--seed", str(seed * (self.num_seeds or 1))]


def chosen(
    file: Path | None, train_flags: str, *, quick: bool = False
) -> tuple[list[Candidate], dict[str, str]]:
    """The candidates to train, and those that cannot be trained here, with the reason.

    Args:
        file: a file of candidates, each on top of `train_flags`; None: those flags alone or, without
            any, the default network and the default pretrained one.
        quick: train two epochs only.

    Raises:
        UserError: the file or a setting is wrong.
    """
    ending = ("--epochs", "2") if quick else ()
    common = _words("--train-flags", train_flags)
    if file is not None:
        values = read_settings(file)
        if not values:
            raise UserError(f"{file}: holds no candidate; expected an object, name -> settings")
        return [
            parse(name, (*common, *flags_of(f"{file}: {name}", value), *ending))
            for name, value in values.items()
        ], {}
    if common:
        return [parse(GIVEN, (*common, *ending))], {}
    found, missing = [parse(DEFAULT, ending)], {}
    pretrained = parse(PRETRAINED, ("--model", PRETRAINED_MODEL, *ending))
    try:
        registry.check_weights(registry.resolve(PRETRAINED_MODEL), pretrained.config)
        found.append(pretrained)
    except UserError as error:
        missing[PRETRAINED] = str(error)
    return found, missing


def parse(name: str, flags: tuple[str, ...]) -> Candidate:
    """A candidate from its flags.

    Raises:
        UserError: a flag or its value is wrong.
    """

    def refuse(message: str) -> NoReturn:
        raise UserError(f"candidate {name!r}: {message}")

    parser = train_arguments.build_parser("candidate", "")
    parser.error = refuse  # type: ignore[method-assign]
    arguments = parser.parse_args(["SHARDS", "--workdir", "RUN", *flags])
    for setting in _NOT_OURS:
        if flag_name(setting) in flags:
            refuse(f"{flag_name(setting)} is not a setting of a candidate; leave it out")
    try:
        config = model_flags.from_flags(TrainConfig, arguments)
    except UserError as error:
        refuse(str(error))
    return Candidate(name, flags, config, getattr(arguments, "num_seeds", None))


def flags_of(source: str, settings: Any) -> list[str]:
    """Settings as flags.

    Args:
        settings: flags in one text, or an object of settings by name.

    Raises:
        UserError: it is neither.
    """
    if isinstance(settings, str):
        return _words(source, settings)
    if not isinstance(settings, Mapping):
        raise UserError(
            f"{source}: got {settings!r}, expected flags in one text, or an object of settings by name"
        )
    flags: list[str] = []
    for name, value in settings.items():
        if name == "model_settings":
            flags += flags_of(source, value)
        elif isinstance(value, bool):
            flags.append(flag_name(name) if value else f"--no-{flag_name(name)[2:]}")
        else:
            flags += [flag_name(name), shown(value)]
    return flags


def _words(source: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserError(f"{source}: got {text!r}: {error}") from error
