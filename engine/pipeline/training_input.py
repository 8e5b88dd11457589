"""Shards to training batches: images in order from a tier, with the draws of augmentation."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from engine.base import counter_random
from engine.pipeline import batch_order, tiers
from engine.pipeline.dataset_options import unconverted, untuned
from engine.pipeline.plan import InputPlan
from engine.pipeline.reading import PREFETCHED_BATCHES, StoredSplit
from engine.pipeline.share import WHOLE, Share
from engine.shards.dataset_checks import steps_per_epoch
from engine.shards.manifest import Manifest


class TrainingInput:
    """A split as training reads it, opened at any step and as often as needed.

    What reading needs (in the memory tier the decoded images) is made at the first opening and
    shared by all datasets.

    Args:
        plan: what the batches are made of.
        shards: a directory of shards.
        manifest: the directory's, if it has been read already.

    Attributes:
        split: the split behind it, read once.
        tier: where the images come from.
        steps_per_epoch: whole batches in the split.

    Raises:
        UserError: there is no such split, it holds less than one batch, or it is streamed in an
            order that cannot be balanced.
    """

    def __init__(
        self, plan: InputPlan, shards: Path | str, manifest: Manifest | None = None
    ) -> None:
        self.plan = plan
        self.split = StoredSplit(shards, plan.split, manifest)
        self.steps_per_epoch = steps_per_epoch(
            self.split.manifest, plan.split, plan.global_batch_size
        )
        self.tier = tiers.choose_tier(self.split, plan)
        self._teacher: tf.Tensor | None = None

    def teach(self, log_probabilities: np.ndarray) -> None:
        """Adds what a teacher gives for each example to the batches of datasets that are opened from now on.

        Args:
            log_probabilities: float32[N, K], in the order of the records.

        Raises:
            ValueError: the tier streams records without their numbers.
        """
        if self.tier.examples is None:
            raise ValueError(f"the {self.tier.name} tier does not know which examples it reads")
        self._teacher = tf.constant(log_probabilities, tf.float32)

    def dataset(self, start_step: int = 0, share: Share = WHOLE) -> tf.data.Dataset:
        """An endless dataset of shuffled batches.

        Args:
            start_step: the batches to pass over, as after a resume.
            share: of each global batch; what comes is the batch of each replica of the share in
                turn.

        Returns:
            Dictionaries of `image` uint8[B, H, W, C], `label` int64[B], `key` uint64[B] (of each
            place in the epoch, for further random numbers), what `InputPlan.draw` gives, and
            `teacher` float32[B, K] where `teach` was called.

        Raises:
            UserError: the shards cannot be read.
        """
        plan, image_size = self.plan, self.split.manifest.image_size
        steps, batch_size = self.steps_per_epoch, plan.global_batch_size
        teacher, examples = self._teacher, self.tier.examples

        @unconverted
        def with_draws(number: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            step, places = batch_order.part_of_step(number, batch_size, share)
            positions, epoch = step % steps * batch_size + places, step // steps
            draws = plan.draw(positions, epoch=epoch, image_size=image_size)
            keys = counter_random.row_keys(positions, seed=plan.seed, epoch=epoch)
            if teacher is not None and examples is not None:
                draws["teacher"] = tf.gather(teacher, examples(step, places))
            return {**batch, **draws, "key": keys}

        return (
            self.tier.batches(start_step, share)
            .enumerate(start=start_step * share.count)
            .map(with_draws, num_parallel_calls=1, deterministic=True)
            .prefetch(PREFETCHED_BATCHES)
            .with_options(untuned(rewrite=self.tier.may_rewrite))
        )

    def paths(self, step: int) -> list[str]:
        """The source files of the images in the batch of `step`, counted from 0."""
        return self.tier.paths(step)
