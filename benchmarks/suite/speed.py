"""Speed of training by the FMA peak, by one thread and by NumPy; and the deviations of gradients."""

import numpy as np
from cases import NAMES, named, random_data
from limits import over_peak
from ratios import Figures, measure

from fastprop import Network, reference, set_num_threads

AT_PEAK = "x the time of its FLOPs at the FMA peak"


class Speed:
    """Times of whole epochs by plain SGD, and of single calls on one thread."""

    params = NAMES
    param_names = ("shape",)
    timeout = 900

    def setup_cache(self) -> dict[str, Figures]:
        return {name: measure(named(name)) for name in NAMES}

    setup_cache.timeout = 900

    def track_one_thread(self, figures: dict[str, Figures], name: str) -> float:
        return figures[name]["one thread"]

    def track_all_threads(self, figures: dict[str, Figures], name: str) -> float:
        return figures[name]["all threads"]

    def track_all_threads_over_one(self, figures: dict[str, Figures], name: str) -> float:
        return figures[name]["all threads over one"]

    def track_over_numpy(self, figures: dict[str, Figures], name: str) -> float:
        return figures[name]["over NumPy"]

    def track_forward(self, figures: dict[str, Figures], name: str) -> float:
        return figures[name]["forward"]

    def track_backward(self, figures: dict[str, Figures], name: str) -> float:
        return figures[name]["backward"]

    track_one_thread.unit = track_forward.unit = track_backward.unit = AT_PEAK
    track_all_threads.unit = f"{AT_PEAK} of all threads"
    track_all_threads_over_one.unit = "x the time on one thread"
    track_over_numpy.unit = "x NumPy's time, both on one thread"


class Epochs:
    """Times of epochs by optimizer and dtype, on one thread."""

    params = (["digits", "mnist", "wide"], ["float32", "float64"], ["SGD", "Adam"])
    param_names = ("shape", "dtype", "optimizer")
    timeout = 600

    def setup_cache(self) -> dict[tuple[str, str], dict[str, float]]:
        set_num_threads(1)
        shapes, dtypes, _ = self.params
        return {(name, dtype): over_peak(named(name), dtype) for name in shapes for dtype in dtypes}

    setup_cache.timeout = 600

    def track_epoch(self, figures: dict[tuple[str, str], dict[str, float]], *params: str) -> float:
        return figures[params[:2]][params[2]]

    track_epoch.unit = f"{AT_PEAK} of the dtype"


class Gradients:
    """Deviations of gradients, so that a speed-up that breaks a gradient shows in the same table."""

    params = NAMES
    param_names = ("shape",)

    def track_largest_deviation(self, name: str) -> float:
        """Return the largest deviation from the reference in float64, over the largest gradient."""
        case = named(name)
        X, Y = random_data(case, min(case.batch, 128))
        net = Network(case.sizes, output=case.output, rng=0)
        net.forward(X)
        net.backward(Y)
        parameters = {k: v.astype(np.float64) for k, v in net.to_dict().items()}
        cache = reference.forward_propagation(X.T.astype(np.float64), parameters, case.output)
        exact = reference.backpropagation(cache, Y.T.astype(np.float64), parameters)
        worst = 0.0
        for l, layer in enumerate(net.layers, start=1):
            for ours, theirs in ((layer.dW, exact[f"dW{l}"]), (layer.db[:, None], exact[f"db{l}"])):
                worst = max(worst, float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
        return worst

    track_largest_deviation.unit = "relative"
