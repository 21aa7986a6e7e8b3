"""Pace: how many steps a fit makes in one compiled call, and on how many threads."""

from ..core.thread_choice import Choice
from ..kernels import estimate

SLICE_SECONDS = 0.07  # of compiled work between two returns to Python, which move the bar and let Ctrl-C work


class Pace:
    """Choose slices of steps that last about `SLICE_SECONDS` each.

    Parameters
    ----------
    sizes : tuple of int
    batch : int
    choice : Choice
        The number of threads.
    size : int
        The bytes of a number.
    measured : float
        The rows that are measured for each step, a share of those of an epoch.
    frozen : tuple of int
        The layers that are not trained, counted from 0.

    Attributes
    ----------
    steps : int
        Of a slice.
    step : float
        The seconds that a step took, measurements included, or that it is expected to take.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        batch: int,
        choice: Choice,
        size: int,
        measured: float = 0.0,
        frozen: tuple[int, ...] = (),
    ):
        self.step: float = estimate.seconds(sizes, batch, 1, size, frozen=frozen) * (1 + measured / batch)
        self.steps: int = self._clip(SLICE_SECONDS / 4 / self.step)
        self.choice = choice

    @staticmethod
    def _clip(steps: float) -> int:
        return int(min(max(steps, 1), 2**40))

    def next(self, most: int, now: float) -> tuple[int, int]:
        """Return the number of steps of the next slice, and its number of threads, at most `most`, at the time `now`.

        A trial of another number of threads gets an eighth of a slice.
        """
        trial = max(1, self.steps // 8)
        threads = self.choice.next(most, trial, now)
        return (self.steps if threads == self.choice.current else trial), threads

    def learn(self, steps: int, threads: int, seconds: float, elapsed: float) -> None:
        """Record how long the steps of a slice took, and how long all of it, with measurements."""
        self.step = elapsed / max(steps, 1)
        if threads == self.choice.current and (steps >= self.steps or elapsed > SLICE_SECONDS):
            self.steps = self._clip(steps * min(4.0, SLICE_SECONDS / max(elapsed, 1e-6)))
        self.choice.learn(steps, seconds)
