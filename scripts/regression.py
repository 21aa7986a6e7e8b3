"""Fit a table whose columns have different units, and show why they have to be scaled first.

    python scripts/regression.py
    python scripts/regression.py --rows 20000 --hidden 128 128

The table comes from a formula with noise, the first of Friedman's (1991, Multivariate Adaptive Regression Splines).
Five of its ten columns matter. Each column has a unit, from a millionth to a thousand. `diagnose` says what is wrong
with the unscaled table, and finds nothing wrong after columns and target are scaled by the means and standard
deviations of the training rows. The script prints R^2 on held-out rows for both networks, for linear least squares and
for the formula itself, which only the noise keeps from 1.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from fastprop import Adam, Network, diagnose

UNITS = np.array([1000, 1e-6, 1, 50, 0.01, 300, 1, 0.001, 7, 20])  # of the columns
PRICE = 10_000  # of the target


def table(m: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return X (m, 10), y (m, 1), and y without its noise."""
    X = rng.random((m, 10))
    y = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2 + 10 * X[:, 3] + 5 * X[:, 4]
    noise = rng.normal(size=m)
    return X * UNITS, PRICE * (y + noise)[:, None], PRICE * y[:, None]


def train(X: np.ndarray, y: np.ndarray, hidden: Sequence[int], seed: int) -> Network:
    """Print the diagnosis of an untrained network, and train it until the loss on held-out rows falls no more."""
    net, optimizer = Network((X.shape[1], *hidden, 1), l2=0.001, rng=seed), Adam(lr=0.002)
    print(f"{diagnose(net, X, y, optimizer)}\n")
    net.fit(X, y, epochs=300, batch_size=64, optimizer=optimizer, validation=0.2, early_stopping=20)
    return net


def r2(y: np.ndarray, y_hat: np.ndarray) -> float:
    """Return the share of the variance that is explained."""
    return float(1 - np.sum((y - y_hat) ** 2) / np.sum((y - y.mean()) ** 2))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000, help="rows, a fifth of them held out (%(default)s)")
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 64], metavar="UNITS", help="layers (64 64)")
    parser.add_argument("--seed", type=int, default=0, help="seed of table, weights and order (%(default)s)")
    args = parser.parse_args(argv)

    X, y, noiseless = table(args.rows, np.random.default_rng(args.seed))
    n = args.rows * 4 // 5
    X_mean, X_std, y_mean, y_std = X[:n].mean(axis=0), X[:n].std(axis=0), y[:n].mean(), y[:n].std()
    X_scaled, y_scaled = (X - X_mean) / X_std, (y - y_mean) / y_std

    print("The table as it is\n")
    unscaled = train(X[:n], y[:n], args.hidden, args.seed)
    print("The table scaled\n")
    scaled = train(X_scaled[:n], y_scaled[:n], args.hidden, args.seed)
    coefficients = np.linalg.lstsq(X_scaled[:n], y_scaled[:n])[0]  # all means are 0, so the intercept is 0

    y_hats = {
        "network, table as it is": unscaled.predict(X[n:]),
        "least squares": X_scaled[n:] @ coefficients * y_std + y_mean,
        "network, table scaled": scaled.predict(X_scaled[n:]) * y_std + y_mean,
        "formula, without the noise": noiseless[n:],
    }
    print(f"R^2 on {len(X) - n:,} rows that were held out")
    for name, y_hat in y_hats.items():
        print(f"  {name:<26}  {r2(y[n:], y_hat):.3f}")


if __name__ == "__main__":
    main()
