"""Let an ensemble say how sure it is: a small regression with a gap in its data, and a picture of mean and spread.

    python scripts/uncertainty.py
    python scripts/uncertainty.py --networks 50 --picture ensemble.png

Sixty noisy measurements of a curve lie in two groups, with nothing between them and nothing beyond. Each of the
networks begins with weights of its own and is trained on a bootstrap sample (deep ensembles, Lakshminarayanan et al.
2017; bagging, Breiman 1996). Where there are data they agree, and elsewhere they differ, which warns of a mean that
cannot be trusted. How wrong it is, their spread does not say: far from the data the networks err in the same way. The
picture needs matplotlib (pip install matplotlib).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastprop import Adam, Ensemble, Network
from fastprop.texts import printable

NOISE = 0.1  # standard deviation


def curve(x: np.ndarray) -> np.ndarray:
    """Return what is measured."""
    return np.sin(3 * x) + 0.3 * x


def measurements(m: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return x (m, 1) in [-2, -0.5] and [0.7, 2], and noisy values y (m, 1)."""
    x = np.concatenate([rng.uniform(-2, -0.5, m // 2), rng.uniform(0.7, 2, m - m // 2)])[:, None]
    return x, curve(x) + rng.normal(scale=NOISE, size=x.shape)


def draw(ensemble: Ensemble, x: np.ndarray, y: np.ndarray, path: Path) -> None:
    """Plot the data, the curve, the mean of the networks and twice their spread.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    everywhere = np.linspace(-3, 3, 300)[:, None]
    mean, spread = (a[:, 0] for a in (ensemble.predict(everywhere), ensemble.spread(everywhere)))
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="x", ylabel="y")
    axes.fill_between(
        everywhere[:, 0], mean - 2 * spread, mean + 2 * spread, color="#9ad0f5", label="mean ± 2 standard deviations"
    )
    axes.plot(everywhere, curve(everywhere), ":", color="#666666", label="the curve that was measured")
    axes.plot(everywhere, mean, color="#0072b2", label=f"mean of {len(ensemble)} networks")
    axes.plot(x, y, ".", color="#d55e00", label=f"{len(x)} measurements")
    axes.set_title("An ensemble is unsure where there are no data")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_ylim(-4, 4)
    axes.legend(frameon=False, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=30, help="of the ensemble (%(default)s)")
    parser.add_argument("--epochs", type=int, default=1500, help="of each network (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of data, weights and bootstrap (%(default)s)")
    parser.add_argument("--picture", type=Path, default=Path("uncertainty.png"), help="file (%(default)s)")
    args = parser.parse_args(argv)

    rng = np.random.default_rng(args.seed)
    x, y = measurements(60, rng)
    ensemble = Ensemble([Network((1, 32, 32, 1), "tanh", rng=rng) for _ in range(args.networks)])
    ensemble.fit(x, y, epochs=args.epochs, batch_size=20, optimizer=Adam(lr=0.01), bootstrap=True, rng=args.seed)

    print(ensemble)
    print("where               error of the mean   spread")
    for where, low, high in (("among the data", 0.8, 1.9), ("in the gap", -0.2, 0.4), ("beyond the data", 2.5, 3.0)):
        new = np.linspace(low, high, 50)[:, None]
        error = np.sqrt(np.mean((ensemble.predict(new) - curve(new)) ** 2))
        print(f"{where:<20}{error:>17.3f}{ensemble.spread(new).mean():>9.3f}")
    try:
        draw(ensemble, x, y, args.picture)
    except ModuleNotFoundError:
        print("no picture: pip install matplotlib")
    else:
        print(printable(f"saved {args.picture}"))


if __name__ == "__main__":
    main()
