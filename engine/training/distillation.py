"""Learning from a teacher's probabilities besides the labels.

Hinton et al., Distilling the knowledge in a neural network, 2015 (https://arxiv.org/abs/1503.02531): the logits
of teacher and student are divided by a temperature T, and the cross-entropy between them is multiplied by T^2, which
keeps its gradients as large as those of the labels.
"""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Distillation:
    """How the teacher counts.

    Attributes:
        weight: share of the loss that the teacher has, from 0 to 1.
        temperature: above 0.
    """

    weight: float
    temperature: float

    def mixed(self, losses: tf.Tensor, teacher: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """The loss of each example, float32[B].

        Args:
            losses: of the labels, float32[B].
            teacher: its log-probabilities, float32[B, K].
            logits: float32[B, 1] for a sigmoid, float32[B, K] for a softmax.
        """
        soft = soft_cross_entropy(teacher, logits, temperature=self.temperature)
        return (1 - self.weight) * losses + self.weight * soft


def soft_cross_entropy(teacher: tf.Tensor, logits: tf.Tensor, *, temperature: float) -> tf.Tensor:
    """T^2 times the cross-entropy of the student under the teacher's probabilities, both at temperature T.

    Args:
        teacher: its log-probabilities, float32[B, K].
        logits: float32[B, 1] for a sigmoid (K = 2), float32[B, K] for a softmax.

    Returns:
        float32[B].
    """
    if logits.shape[-1] == 1:
        logits = tf.concat([tf.zeros_like(logits), logits], axis=1)
    targets = tf.nn.softmax(teacher / temperature)
    crossed = tf.nn.softmax_cross_entropy_with_logits(targets, logits / temperature)
    return temperature**2 * crossed
