"""A classifier's outputs in the one form that is measured, and the classes they decide for.

labels         int[N], the class index; of two classes, index 1 is the positive one
probabilities  float[N], of the positive class, or float[N, K], one column per class
log_odds       as probabilities: log(p / (1 - p)), which order what float32 probabilities tie
patients       str[N], who is in the image; '' where unknown (the image is then a group of its own)
"""

from collections.abc import Sequence

import numpy as np

from engine.base.config import UserError

Array = np.ndarray


def predict_labels(probabilities: Array, threshold: float | None = 0.5) -> Array:
    """int64[N]: 1 where float[N] reaches the threshold, or the largest column of float[N, K]."""
    if probabilities.ndim == 1:
        return (probabilities >= (0.5 if threshold is None else threshold)).astype(np.int64)
    return probabilities.argmax(axis=1).astype(np.int64)


def as_probabilities(outputs: Array) -> Array:
    """A model's outputs, float[N, 1] or float[N, K], in this module's form.

    Two columns become the second one alone, so that two classes are met in one form only.
    """
    if outputs.ndim == 2 and outputs.shape[1] <= 2:
        return outputs[:, -1]
    return outputs


def log_odds(logits: Array) -> Array:
    """log(p / (1 - p)) of the probabilities that logits stand for, as exact as the logits.

    Args:
        logits: float[N, 1] before a sigmoid, or float[N, K] before a softmax.

    Returns:
        float64[N] of class 1, or float64[N, K] of each class with more than two.
    """
    from scipy import special

    logits = np.asarray(logits, np.float64)
    if logits.shape[1] == 1:
        return logits[:, 0]
    with np.errstate(divide="ignore"):
        logs = special.log_softmax(logits, axis=1)
        odds = logs - np.log1p(-np.exp(logs))
    # Of a class near certainty, 1 - p is lost in rounding: it is the sum of all others.
    rows, top = np.arange(len(logits)), logits.argmax(axis=1)
    others = logits.copy()
    others[rows, top] = -np.inf
    odds[rows, top] = logits[rows, top] - special.logsumexp(others, axis=1)
    return as_probabilities(odds)


def probabilities(log_odds: Array) -> Array:
    """float64 of the same shape: the probabilities of log-odds, exact to the last bit near 0 alone."""
    from scipy import special

    found: Array = special.expit(np.asarray(log_odds, np.float64))
    return found


def patient_groups(patients: Sequence[str] | Array | None, count: int) -> Array:
    """int64[N]: which patient each example is of; an unknown one is of its own."""
    if patients is None:
        return np.arange(count)
    names = np.asarray(patients, dtype=str)
    if names.shape != (count,):
        raise UserError(
            f"got patients of shape {names.shape} for {count} labels; expected one each"
        )
    known = names != ""
    groups = np.arange(count)
    _, index = np.unique(names[known], return_inverse=True)
    groups[known] = index.reshape(-1) + count
    return np.unique(groups, return_inverse=True)[1].reshape(-1)


def checked(labels: Array, probabilities: Array, num_classes: int) -> tuple[Array, Array]:
    """int64[N] labels, and float64[N] probabilities of two classes or float64[N, K] of more."""
    labels = np.asarray(labels).reshape(-1).astype(np.int64)
    probabilities = as_probabilities(np.asarray(probabilities, np.float64))
    expected = (len(labels),) if num_classes == 2 else (len(labels), num_classes)
    if probabilities.shape != expected:
        raise UserError(
            f"got probabilities of shape {probabilities.shape} for {len(labels)} labels and "
            f"{num_classes} classes; expected {expected}"
        )
    if not len(labels):
        raise UserError("got no example to evaluate; expected at least one")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise UserError(
            f"got labels from {labels.min()} to {labels.max()}; expected 0 to {num_classes - 1}"
        )
    if not ((probabilities >= -1e-6) & (probabilities <= 1 + 1e-6)).all():
        raise UserError(
            f"got probabilities from {probabilities.min():g} to {probabilities.max():g}; expected "
            "0 to 1 (a model that diverged gives nan; train again at a lower --learning-rate)"
        )
    return labels, np.clip(probabilities, 0.0, 1.0)


def checked_ranking(probabilities: Array, log_odds: Array | None) -> Array:
    """What examples are ranked by, float64 as the probabilities: their log-odds, if they are given.

    Raises:
        UserError: the log-odds have another shape, or are not numbers.
    """
    if log_odds is None:
        return probabilities
    log_odds = np.asarray(log_odds, np.float64)
    if log_odds.shape != probabilities.shape or np.isnan(log_odds).any():
        raise UserError(
            f"got log-odds of shape {log_odds.shape} for probabilities of shape "
            f"{probabilities.shape}; expected the same shape, and no nan"
        )
    return log_odds
