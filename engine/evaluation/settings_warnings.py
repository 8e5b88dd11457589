"""What a reader must know of an evaluation by settings under which the figures do not stand for the set."""

from collections.abc import Sequence

from engine.metrics import prior_shift
from engine.metrics.subject import Subject, are_shares_of


def about(subject: Subject, counts: Sequence[int], class_names: Sequence[str]) -> list[str]:
    """What a reader must know of figures by other shares of the classes, or of other classes, than the
    set has.

    Args:
        counts: examples of each class of the run.
    """
    warnings = []
    if changed := subject.changed_classes(class_names):
        warnings.append(
            f"--classes leaves out, or takes for another class, what both the run and these shards call "
            f"{', '.join(changed)}; the figures do not stand for this set"
        )
    if subject.prevalence_estimated:
        warnings.append(prior_shift.CAVEAT)
    if subject.flip_average:
        warnings.append(
            "log-odds are the mean of each image's and its mirror image's; calibration and threshold were "
            "fitted without that"
        )
    return [*warnings, *about_shares(subject, counts, class_names)]


def about_shares(subject: Subject, counts: Sequence[int], class_names: Sequence[str]) -> list[str]:
    """That probabilities are for other shares of the classes than the set has, if so.

    Of estimated shares, which are not known before the images are predicted, `about` cannot say it.
    """
    if subject.prevalence is not None and not are_shares_of(subject.prevalence, counts):
        wanted = ", ".join(
            f"{share:.3g} {name}"
            for share, name in zip(subject.prevalence, class_names, strict=True)
        )
        found = ", ".join(f"{count / sum(counts):.3g}" for count in counts)
        return [
            f"probabilities are for other shares of the classes ({wanted}) than these images have "
            f"({found}), so Brier score, loss and calibration error do not hold for them"
        ]
    return []
