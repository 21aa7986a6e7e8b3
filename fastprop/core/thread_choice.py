"""The choice of the number of threads for work that recurs, from measurements of that work."""

import math

TRIAL = 1e-3  # seconds that a trial of another number of threads lasts at least: many short calls, or one longer call
# After a trial, TRIALS_APART times its duration pass until the next, and twice as long after each trial that changes
# nothing, up to TRIAL_SECONDS (or TRIALS_APART trials, if that is more). Calls with pauses between them must also have
# spent WORK_APART times the duration of a trial on work.
TRIALS_APART = 50
TRIAL_SECONDS = 1.0
WORK_APART = 10
WAKING = 0.02  # seconds: a first call shorter than this does not count, as Linux may take 10 ms to part woken threads
GAIN = 1.1  # by which factor another number must be faster
WORSE = 1.5  # a slowdown by this factor causes a trial


class Choice:
    """On how many threads to do work that recurs.

    The plan's number of threads is the best on idle cores. If other processes compute too, a thread that waits for its
    core delays all the others: beside a second process on two cores, 17-64-64-6 trained at half the speed of one
    thread, and a prediction took 3.5 ms instead of 0.15. So half and twice the current number are tried in turn: soon
    after the start and after each change, then at intervals that double while nothing changes, and whenever the work
    has become slower twice in a row. A trial measures the candidate for a millisecond, goes back, measures the current
    number again, and changes to the candidate if it was faster than both of these measurements. The result has the
    same bits whatever the number.

    Attributes
    ----------
    most : int
        The plan's number of threads; a new one starts the choice anew.
    current : int
        The number that was the fastest of those tried.
    candidate : int
        The number on trial, or that is still to be compared; 0 for none.
    trying : bool
        Whether the work runs on the candidate now.
    cooldown : float
        Seconds until the next trial.
    work_since_trial : float
        Seconds of work since the last trial ended.
    baseline : float
        The least seconds per unit of work since the last trial.
    warmed_up : int
        The number of threads that the last call ran on; the first short call after a change is not counted.
    """

    most: int
    current: int
    warmed_up: int
    candidate: int
    trying: bool
    cooldown: float
    work_since_trial: float
    baseline: float

    def __init__(self) -> None:
        self.most = self.current = 0

    def _start(self, most: int, now: float) -> None:
        self.most = most
        self.current = most
        self.warmed_up = most
        self.candidate = 0
        self.trying = False
        self.cooldown = 0.0
        self.work_since_trial = 0.0
        self.baseline = math.inf
        self._slow_in_a_row = 0
        self._n_trials = 0
        self._call_started = now
        self._trial_ended = now
        self._seconds_per_unit: dict[int, float] = {}  # by number of threads
        self._seconds = 0.0  # not yet in `_seconds_per_unit`
        self._units = 0.0

    def next(self, most: int, units: float, now: float) -> int:
        """Return the number of threads for the next call, at most `most`; the choice is on trial if it is not current.

        Parameters
        ----------
        most : int
            The plan's number of threads.
        units : float
            The least work of a call, in any unit.
        now : float
            The time, in seconds.
        """
        if most != self.most:
            self._start(most, now)
        self._call_started = now
        if most > 1 and not self.candidate and (self._slow_in_a_row > 1 or self._trial_is_due(units, now)):
            others = sorted({max(1, self.current // 2), min(2 * self.current, most)} - {self.current})
            self._n_trials += 1
            self.candidate = others[self._n_trials % len(others)]
            self.trying = True
            self._seconds = self._units = 0.0
        return self.candidate if self.trying else self.current

    def _trial_is_due(self, units: float, now: float) -> bool:
        trial = max(TRIAL, units * self._seconds_per_unit.get(self.current, math.inf))
        waited = now - self._trial_ended > max(self.cooldown, TRIALS_APART * trial)
        return waited and self.work_since_trial > WORK_APART * trial

    def learn(self, units: float, seconds: float) -> None:
        """Record that `units` of work took `seconds` on the threads that :meth:`next` returned last."""
        threads = self.candidate if self.trying else self.current
        if threads not in self._seconds_per_unit:  # the first call loads code, or compiles it
            self._seconds_per_unit[threads] = math.inf
            return
        if threads != self.warmed_up and seconds < WAKING:
            self.warmed_up = threads
            return
        self._units += units
        self._seconds += seconds
        if self._seconds < TRIAL:
            return
        before, taken = self._seconds_per_unit[threads], self._seconds / self._units
        self._seconds_per_unit[threads] = taken
        self.work_since_trial += self._seconds
        self._seconds = self._units = 0.0
        if self.trying:
            self.trying = False
        elif self.candidate:
            self._compare(min(before, taken), self._call_started + seconds)
        elif taken < WORSE * self.baseline:
            self.baseline = min(taken, self.baseline)
            self._slow_in_a_row = 0
        else:
            self._slow_in_a_row += 1  # a single slow call may be an accident

    def _compare(self, current: float, now: float) -> None:
        """Change to the candidate if it beats the current number before and after the trial.

        Both are needed: the first calls after a pause are slow on any number of threads.
        """
        self.cooldown = min(2 * (now - self._trial_ended), TRIAL_SECONDS)
        if GAIN * self._seconds_per_unit[self.candidate] < current:
            self.current = self.candidate
            self.cooldown = 0.0
        self.candidate = 0
        self.work_since_trial = 0.0
        self._trial_ended = now
        self.baseline = self._seconds_per_unit[self.current]
        self._slow_in_a_row = 0
