"""Many networks in one call, over the same steps in one long fit."""

from many import shared_speeds, tiny_seconds

from fastprop import get_num_threads


class Many:
    """Times of `fit_many` over those of one long fit on one thread, divided by the threads."""

    params = ("64 networks, 1 thread", "64 networks, 2 threads", "1,000 tiny networks")
    param_names = ("what",)
    timeout = 600

    def setup_cache(self) -> dict[str, float]:
        speeds, (many, long) = shared_speeds(), tiny_seconds()
        one = speeds["one network, one long fit, 1 thread"]
        ratios = one / speeds["fit_many, 1 thread"], 2 * one / speeds["fit_many, 2 threads"]
        return dict(zip(self.params, (*ratios, many * get_num_threads() / long), strict=True))

    setup_cache.timeout = 600

    def track_over_one_long_fit(self, figures: dict[str, float], name: str) -> float:
        return figures[name]

    track_over_one_long_fit.unit = "x the time of one long fit, on each thread"
