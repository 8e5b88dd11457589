"""Labels and the probabilities of a classifier that is mostly right."""

import numpy as np

BINARY = ("NORMAL", "PNEUMONIA")


def binary_data(count=300, seed=0, decimals=None):
    random = np.random.default_rng(seed)
    labels = (random.random(count) < 0.7).astype(np.int64)
    scores = 1 / (1 + np.exp(-random.normal(2.5 * labels - 1, 1.5)))
    return labels, scores if decimals is None else scores.round(decimals)


def multiclass_data(count=400, classes=4, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    logits = random.normal(size=(count, classes)) + 1.5 * np.eye(classes)[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
