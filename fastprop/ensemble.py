"""Ensemble: networks that predict together."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .activations import Activation
from .core.engines import EnginePool
from .core.sparse import is_sparse
from .losses import Loss
from .network import Network
from .training import files
from .training.history import History
from .training.many import checked_networks, fit_many


class Ensemble:
    """Networks that predict together: their mean is better than one of them, their spread tells how sure it is.

    Networks with different initial weights differ most where there are no data (deep ensembles, Lakshminarayanan et al.
    2017), and more so if each is trained on a bootstrap sample of the rows (bagging, Breiman 1996).

    Parameters
    ----------
    networks : sequence of Network
        All different, with equally many inputs and outputs, the same output activation and the same classes. Their
        hidden layers, losses and dtypes may differ.

    Attributes
    ----------
    networks : tuple of Network

    Raises
    ------
    ValueError, TypeError
        If there is no network, or one does not fit the first.

    Examples
    --------
    >>> X = np.linspace(-1, 1, 100)[:, None]
    >>> ensemble = Ensemble([Network((1, 16, 1), "tanh", rng=seed) for seed in range(10)])
    >>> histories = ensemble.fit(X, X**2, epochs=200, optimizer=Adam(0.01), bootstrap=True, rng=0)
    >>> bool(ensemble.spread([[3.0]]) > ensemble.spread([[0.5]]))
    True
    """

    def __init__(self, networks: Iterable[Network]):
        self.networks: tuple[Network, ...] = tuple(checked_networks(networks, Network))
        first = _face(self.networks[0])
        for i, network in enumerate(self.networks):
            for (name, value), expected in zip(_face(network).items(), first.values(), strict=True):
                if value != expected:
                    raise ValueError(
                        f"networks[{i}] has {name} {value!a}, and networks[0] has {expected!a}; those of an ensemble "
                        f"must be the same."
                    )

    def __len__(self) -> int:
        return len(self.networks)

    def __repr__(self) -> str:
        first, count = self.networks[0], sum(network.n_parameters for network in self.networks)
        return f"Ensemble({len(self)} networks, {first.sizes[0]} -> {first.sizes[-1]}): {count:,} parameters"

    def fit(self, X: Any, Y: Any, *, epochs: int, bootstrap: bool = False, **arguments: Any) -> list[History]:
        """Train all networks with :func:`fastprop.fit_many`.

        Parameters
        ----------
        X, Y, epochs
            See :func:`fastprop.fit_many`.
        bootstrap : bool
            Whether each network is trained on rows drawn with replacement.
        **arguments
            The other arguments of :func:`fastprop.fit_many`.

        Returns
        -------
        list of History
            One for each network.

        Raises
        ------
        ValueError, TypeError
            If anything does not fit. All networks are unchanged then.
        """
        return fit_many(self.networks, X, Y, epochs=epochs, bootstrap=bootstrap, **arguments)

    # ---- predictions ---------------------------------------------------------------------------------------------

    def predict(self, X: Any) -> np.ndarray:
        """Compute the mean of Ŷ over the networks, of shape (m, n_L); of classes, their mean probabilities.

        Parameters
        ----------
        X : array_like or CSR matrix of shape (m, n_0)
            See :meth:`fastprop.Network.predict`, also for the errors. May be called from several threads at once.
        """
        return self._mean_and_squares(X)[0].astype(self._dtype)

    def predict_each(self, X: Any) -> np.ndarray:
        """Compute Ŷ of each of the R networks, of shape (R, m, n_L); see :meth:`predict`."""
        return np.stack(list(self._predictions(X))).astype(self._dtype, copy=False)

    def spread(self, X: Any) -> np.ndarray:
        """Compute the standard deviation of Ŷ over the networks, of shape (m, n_L); see :meth:`predict`."""
        return np.sqrt(self._mean_and_squares(X)[1] / len(self)).astype(self._dtype)

    def _mean_and_squares(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean of Ŷ and the sum of the squared distances from it, in float64 (Welford 1962)."""
        mean = squares = np.zeros(1)
        for count, Y_hat in enumerate(self._predictions(X), start=1):
            distance = Y_hat - mean
            mean = mean + distance / count
            squares = squares + distance * (Y_hat - mean)
        return mean, squares

    def _predictions(self, X: Any) -> Iterator[np.ndarray]:
        """Yield Ŷ of each network, on one engine for all networks of an architecture."""
        pool, checked = EnginePool(alone=False), {}
        for network in self.networks:
            net = network.architecture
            form = net.dtype, net.check_finite
            if form not in checked:
                checked[form] = net.check_rows(X)
            rows = checked[form]
            engines = pool.take(network.engines)
            with engines.lend(len(rows), is_sparse(rows)) as engine:
                yield engine.forward(rows, transpose=False)
            pool.give(engines)

    @property
    def _dtype(self) -> np.dtype:
        return np.result_type(*(network.dtype for network in self.networks))

    # ---- files ---------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all networks to one safetensors file (extra ``save``), with the promises of :meth:`Network.save`.

        The tensors of network i are those of a network's file, with the prefix ``i.``, such as ``0.W1``.

        Parameters
        ----------
        path : path-like
            In an existing folder.

        Raises
        ------
        ModuleNotFoundError, ValueError, OSError
            See :meth:`fastprop.Network.save`.
        """
        files.save_many(self.networks, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], functions: Sequence[Activation | Loss] = ()) -> "Ensemble":
        """Return the ensemble of a file that :meth:`save` wrote.

        Parameters
        ----------
        path : path-like
        functions : sequence of Activation and Loss
            The custom functions of the networks.

        Raises
        ------
        ModuleNotFoundError, OSError, ValueError
            See :meth:`fastprop.Network.load`.
        """
        return files.load_many(Network, path, functions, cls)


def _face(network: Network) -> dict[str, Any]:
    """Return what the networks of an ensemble have in common, by its name."""
    sizes = network.sizes
    return {"inputs": sizes[0], "outputs": sizes[-1], "output": network.output, "classes": network.classes}
