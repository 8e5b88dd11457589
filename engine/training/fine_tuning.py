"""Which weights of a network are trained, from when on, and at which share of the learning rate."""

import dataclasses
import math
from typing import Any

import keras

from engine.base.settings import TrainConfig
from engine.networks import frozen_statistics, parts
from engine.training.weight_rates import ALL_ALIKE, WeightRates

ALL, NONE = "all", "none"


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """What is trained of a network.

    Attributes:
        weights: all that are trained, in the network's order.
        head: those of `weights` that are trained while the body waits; all of them if it never does.
        rates: the shares of the learning rate, and which weights wait.
        freeze_epochs: how many epochs train `head` alone.
        solves_head: whether these are solved rather than stepped.
        frozen: how many numbers are never trained.
        frozen_normalizations: the layers of batch normalization that keep their statistics.
    """

    weights: list[Any]
    head: list[Any]
    rates: WeightRates
    freeze_epochs: int
    frozen: int
    frozen_normalizations: list[str]
    solves_head: bool = False

    def described(self, *, epochs: int) -> str | None:
        """A line on what is trained, when; None if that is everything alike."""
        if not (self.frozen or self.rates.factors or self.frozen_normalizations):
            return None
        total, head = _numbers(self.weights), _numbers(self.head)
        training = "solving for" if self.solves_head else "training"
        parts_of = [f"training {total:,} weights"]
        if self.freeze_epochs >= epochs:
            times = "the only epoch" if epochs == 1 else f"all {epochs} epochs"
            parts_of = [f"{training} the head alone, {head:,} weights, in {times}"]
        elif self.freeze_epochs:
            times = "the first epoch" if self.freeze_epochs == 1 else f"{self.freeze_epochs} epochs"
            then = f"training {total:,}" if self.solves_head else f"{total:,}"
            when = "in" if self.solves_head else "for"
            parts_of = [f"{training} the head alone, {head:,} weights, {when} {times}, then {then}"]
        slowest, fastest = min(self.rates.factors or [1]), max(self.rates.factors or [1])
        if slowest < fastest:
            parts_of.append(f"at {slowest:.3g} to {fastest:.3g} of the learning rate")
        if self.frozen:
            parts_of.append(f"{self.frozen:,} weights stay as they are")
        if number := len(self.frozen_normalizations):
            parts_of.append(f"{number} layers of batch normalization keep their mean and variance")
        return "; ".join(parts_of)


def plan(network: keras.Model, config: TrainConfig, *, pretrained: bool) -> FineTuning:
    """What a configuration trains of a network; makes its batch normalization keep its statistics.

    Args:
        network: pixels to logits (`training_form`).
        pretrained: whether it starts from pretrained weights.

    Raises:
        UserError: it has no layer of the name that training should begin with.
    """
    weights = list(network.trainable_variables)
    found = parts.places(network)
    first = _first_trained(found, config.fine_tune_from)
    place_of = _place_of_weights(found)
    # What belongs to no layer lies before them all.
    places = [place_of.get(id(weight), (-1, _deepest(found))) for weight in weights]
    trained = [
        (weight, to_head)
        for weight, (index, to_head) in zip(weights, places, strict=True)
        if to_head == 0 or index >= first
    ]
    body = [to_head > 0 for _, to_head in trained]
    solves_head = config.head_solver == "lbfgs"
    freeze_epochs = config.freeze_epochs if any(body) or solves_head else 0
    keep_statistics = pretrained if config.freeze_batch_norm is None else config.freeze_batch_norm
    frozen_layers = [
        place.layer
        for index, place in enumerate(found)
        if not place.in_head and (keep_statistics or index < first)
    ]
    return FineTuning(
        weights=[weight for weight, _ in trained],
        head=[weight for weight, to_head in trained if not freeze_epochs or to_head == 0],
        rates=_rates(
            [to_head for _, to_head in trained], config, _waiting(body, freeze_epochs, solves_head)
        ),
        freeze_epochs=freeze_epochs,
        frozen=_numbers(weights) - _numbers([weight for weight, _ in trained]),
        frozen_normalizations=frozen_statistics.freeze(frozen_layers),
        solves_head=solves_head,
    )


def _waiting(in_body: list[bool], freeze_epochs: int, solves_head: bool) -> list[bool]:
    """Which weights make their first step behind the epochs of the head; a solved head does so too."""
    return [bool(freeze_epochs) and (solves_head or one) for one in in_body]


def _rates(stages_to_head: list[int], config: TrainConfig, waiting: list[bool]) -> WeightRates:
    factors = [
        config.body_rate * config.layer_decay**stages if stages else 1.0
        for stages in stages_to_head
    ]
    if not any(waiting) and all(factor == 1 for factor in factors):
        return ALL_ALIKE
    return WeightRates(tuple(factors), tuple(waiting))


def _first_trained(places: list[parts.Place], name: str) -> int:
    """The number of the first place whose weights are trained."""
    if name == ALL:
        return -1
    if name == NONE:
        return len(places)
    return parts.find(places, name)


def _place_of_weights(places: list[parts.Place]) -> dict[int, tuple[int, int]]:
    """By the weight's id, the number of its place and how many stages lie between it and the head."""
    found: dict[int, tuple[int, int]] = {}
    for index, place in enumerate(places):
        for weight in parts.own_weights(place.layer):
            found.setdefault(id(weight), (index, place.stages_to_head))
    return found


def _deepest(places: list[parts.Place]) -> int:
    return max((place.stages_to_head for place in places), default=1)


def _numbers(weights: list[Any]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)
