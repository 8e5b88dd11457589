"""Likelihood ratios of a test, and from them its predictive values at any prevalence, with limits.

    LR+ = sensitivity / (1 - specificity)       LR- = (1 - sensitivity) / specificity
    PPV = odds LR+ / (1 + odds LR+)             NPV = 1 / (1 + odds LR-),    odds = p / (1 - p)

The limits of a ratio come from those of its two proportions, which are of different patients (MOVER-R:
Donner and Zou, Closed-form confidence intervals for functions of the normal mean and standard deviation,
2012). As those hold where a proportion is 0 or 1 and count patients, not images, so do these. Predictive
values rise with the ratios, so their limits are those of the ratios, carried over.
"""

import dataclasses
import math

from engine.metrics.estimate import Estimate

_NO_WIDTH = "a limit needs two patients of each kind or more"


@dataclasses.dataclass(frozen=True)
class Ratio:
    """A likelihood ratio and its limits; `value` and `high` may be infinite, and are NaN where undefined."""

    value: float
    low: float
    high: float

    @property
    def has_limits(self) -> bool:
        """Whether the limits are known."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    def estimate(self, why_infinite: str) -> Estimate:
        """As an estimate, in which what is infinite or undefined is None and has a reason."""
        if math.isnan(self.value):
            return Estimate(None, reason="both of its rates are 0")
        if math.isinf(self.value):
            known = f", at least {self.low:.3g}" if self.has_limits else ""
            low = self.low if self.has_limits else None
            return Estimate(None, low, None, f"infinite: {why_infinite}{known}")
        if not self.has_limits:
            return Estimate(self.value, reason=_NO_WIDTH)
        if math.isinf(self.high):
            return Estimate(self.value, self.low, None, f"at least {self.low:.3g}")
        return Estimate(self.value, self.low, self.high)


def positive(sensitivity: Estimate, specificity: Estimate) -> Ratio:
    """How much likelier a positive call is for the class than for the others, LR+."""
    return _ratio(sensitivity, _complement(specificity))


def negative(sensitivity: Estimate, specificity: Estimate) -> Ratio:
    """How much likelier another call is for the class than for the others, LR-."""
    return _ratio(_complement(sensitivity), specificity)


def predictive_values(
    sensitivity: Estimate, specificity: Estimate, prevalence: float
) -> tuple[Estimate, Estimate]:
    """PPV and NPV where the class has the share `prevalence`, by Bayes' rule.

    Args:
        sensitivity, specificity: with their limits, where these are known.
        prevalence: above 0 and below 1.
    """
    if sensitivity.value is None or specificity.value is None:
        missing = Estimate(None, reason="it needs examples of both classes")
        return missing, missing
    odds = prevalence / (1 - prevalence)
    return (
        _carried(positive(sensitivity, specificity), odds, rises=True),
        _carried(negative(sensitivity, specificity), odds, rises=False),
    )


def _carried(ratio: Ratio, odds: float, *, rises: bool) -> Estimate:
    """The predictive value that a ratio gives: rising with LR+, falling with LR-."""

    def share(value: float) -> float:
        product = odds * value
        right = 1.0 if math.isinf(product) else product / (1 + product)
        return right if rises else 1 - right

    if math.isnan(ratio.value):
        called = "called to be of the class" if rises else "called to be of another class"
        return Estimate(None, reason=f"nothing was {called}")
    value = share(ratio.value)
    if not ratio.has_limits:
        return Estimate(value, reason=_NO_WIDTH)
    low, high = sorted((share(ratio.low), share(ratio.high)))
    return Estimate(value, min(low, value), max(high, value))


def _complement(estimate: Estimate) -> Estimate:
    low, value, high = (
        None if part is None else 1 - part for part in (estimate.high, estimate.value, estimate.low)
    )
    return Estimate(value, low, high)


def _ratio(upper: Estimate, lower: Estimate) -> Ratio:
    """The ratio of two proportions that vary independently."""
    assert upper.value is not None and lower.value is not None
    value = _quotient(upper.value, lower.value)
    if not (upper.has_interval and lower.has_interval):
        return Ratio(value, math.nan, math.nan)
    assert upper.low is not None and upper.high is not None
    assert lower.low is not None and lower.high is not None
    product = upper.value * lower.value
    at_low = upper.low * (2 * upper.value - upper.low)
    at_high = upper.high * (2 * upper.value - upper.high)
    below = lower.low * (2 * lower.value - lower.low)
    above = lower.high * (2 * lower.value - lower.high)
    # Written so that no difference of nearly equal numbers is divided by one near 0.
    low = _quotient(at_low, product + math.sqrt(max(0.0, product**2 - at_low * above)))
    high = _quotient(product + math.sqrt(max(0.0, product**2 - at_high * below)), below)
    low = 0.0 if math.isnan(low) else low
    return Ratio(value, low, math.inf if math.isnan(high) else high)


def _quotient(upper: float, lower: float) -> float:
    if lower == 0:
        return math.inf if upper > 0 else math.nan
    return upper / lower
