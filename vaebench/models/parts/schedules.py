"""Schedules of β during training: a factor in [0, 1] that multiplies the model's β."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from vaebench.config.registry import SCHEDULES, Fraction, PositiveInt


class Schedule(ABC):
    """A function of the progress of training, from 0 (first step) to 1 (last step)."""

    @abstractmethod
    def __call__(self, progress: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The factor on β."""


@SCHEDULES.register
class Constant(Schedule):
    """The full β from the first step."""

    def __call__(self, progress: Tensor) -> Tensor:
        return progress.new_ones(())


@SCHEDULES.register
class LinearWarmup(Schedule):
    """Rise linearly from 0 to β, then stay constant (Bowman et al. 2016; Sønderby et al. 2016).

    Args:
        share: the fraction of training that the warm-up takes.
    """

    def __init__(self, *, share: Fraction = 0.25) -> None:
        self.share = share

    def __call__(self, progress: Tensor) -> Tensor:
        return ((progress + _TINY) / (self.share + _TINY)).clamp(max=1.0)


@SCHEDULES.register
class Cyclic(Schedule):
    """Linear warm-ups repeated in equal cycles (Fu et al. 2019).

    Args:
        cycles: the number of cycles in training.
        share: the fraction of a cycle that its warm-up takes. Then β stays constant until the end of the cycle.
    """

    def __init__(self, *, cycles: PositiveInt = 4, share: Fraction = 0.5) -> None:
        self.cycles, self.share = cycles, share

    def __call__(self, progress: Tensor) -> Tensor:
        within = (progress * self.cycles).remainder(1.0)
        ramp = ((within + _TINY) / (self.share + _TINY)).clamp(max=1.0)
        return ramp.where(progress < 1, ramp.new_ones(()))


_TINY = 1e-9  # a warm-up of share 0 is a constant, not 0/0
