"""What lies between a user and the kernels: times over those of what stands beside them, on one thread."""

from itertools import product

from cases import named
from limits import dropin_ratios, loop_seconds, stream_seconds
from overhead import SOLVERS, SPARSE, compare_estimators, compare_fits, compare_sparse

from fastprop import set_num_threads

Figures = dict[str, float]
BESIDE = "x the time of what is beside"


class Fits:
    """Short fits over the same steps in one epoch, or as calls of `train_step`."""

    params = ("epochs", "epochs with validation", "one epoch", "a new network and one epoch")
    param_names = ("fit",)
    timeout = 300

    def setup_cache(self) -> Figures:
        set_num_threads(1)
        return {name: taken / besides for name, taken, _, besides in compare_fits()}

    def track_fit(self, figures: Figures, name: str) -> float:
        return figures[name]

    track_fit.unit = BESIDE


class Dropin:
    """The drop-in's four functions, all together, over the same lines in NumPy."""

    params = (["xs", "s", "digits"], ["float32", "float64"])
    param_names = ("shape", "dtype")
    timeout = 300

    def setup_cache(self) -> dict[tuple[str, str], float]:
        set_num_threads(1)
        found = {params: dropin_ratios(named(params[0]), params[1]) for params in product(*self.params)}
        return {params: 1 / speeds["all"] for params, speeds in found.items()}

    def track_over_numpy(self, figures: dict[tuple[str, str], float], *params: str) -> float:
        return figures[params]

    track_over_numpy.unit = "x NumPy's time, both on one thread"


class Loops:
    """A user's compiled loop: a prediction of a row over its products alone, and a step over one of `fit`."""

    params = ("predict", "train_step")
    param_names = ("function",)
    timeout = 300

    def setup_cache(self) -> Figures:
        set_num_threads(1)
        predict, products, step, of_fit = loop_seconds(named("xs"))
        return {"predict": predict / products, "train_step": step / of_fit}

    def track_in_a_loop(self, figures: Figures, name: str) -> float:
        return figures[name]

    track_in_a_loop.unit = BESIDE


class Streams:
    """Steps on batches of 2 to 64 rows over steps on batches of their mean size."""

    params = (["xs", "digits"], ["train_step", "partial_fit"])
    param_names = ("shape", "method")
    timeout = 300

    def setup_cache(self) -> dict[tuple[str, str], float]:
        set_num_threads(1)
        found = {params: stream_seconds(named(params[0]), params[1]) for params in product(*self.params)}
        return {params: varying / fixed for params, (varying, fixed) in found.items()}

    def track_varying_over_fixed(self, figures: dict[tuple[str, str], float], *params: str) -> float:
        return figures[params]

    track_varying_over_fixed.unit = "x the time of batches of one size"


class Estimators:
    """`MLPClassifier` on the iris, and on sparse rows, over scikit-learn's."""

    params = (*(f"fit by {solver}" for solver in SOLVERS), "partial_fit", "fit, s", "predict_proba, s")
    param_names = ("call",)
    timeout = 900

    def setup_cache(self) -> Figures:
        from sklearn.datasets import load_iris

        set_num_threads(1)
        found = [*compare_estimators(*load_iris(return_X_y=True)), *compare_sparse(SPARSE[1], 1)]
        return {call: taken / besides for call, taken, _, besides in found if call in self.params}

    setup_cache.timeout = 900

    def track_over_scikit_learn(self, figures: Figures, call: str) -> float:
        return figures[call]

    track_over_scikit_learn.unit = "x scikit-learn's time"
