"""Times of public calls: epochs of fit, single steps, the drop-in functions; and the memory of a fit."""

from cases import LR, NAMES, named, random_data, rows_of

import fastprop
from fastprop import SGD, Network, dropin, set_num_threads
from fastprop.kernels.plan import flops_per_sample


class Epoch:
    """A whole epoch of `fit`: shuffle, gather, forward, cost, backward and the update by plain SGD."""

    params = (NAMES, ["1", "all"])
    param_names = ("shape", "threads")
    repeat = (5, 20, 2.0)
    rounds = 1

    def setup(self, name: str, threads: str) -> None:
        set_num_threads(1 if threads == "1" else None)
        self.case = case = named(name)
        self.X, self.Y = random_data(case, rows_of(case, flops_per_sample(case.sizes)))
        self.net, self.optimizer = Network(case.sizes, output=case.output, rng=0), SGD(lr=LR)
        self.time_epoch(name, threads)  # compiles

    def time_epoch(self, name: str, threads: str) -> None:
        self.net.fit(self.X, self.Y, epochs=1, batch_size=self.case.batch, optimizer=self.optimizer, progress=False)


class Call:
    """One call of a method, with argument validation, on one thread."""

    params = (["xs", "mnist"], [1, 32, 1024])
    param_names = ("shape", "batch")
    repeat = (5, 20, 1.0)
    rounds = 1

    def setup(self, name: str, batch: int) -> None:
        set_num_threads(1)
        case = named(name)
        self.X, self.Y = random_data(case, batch)
        self.net, self.optimizer = Network(case.sizes, output=case.output, rng=0), SGD(lr=LR)
        for call in (self.time_train_step, self.time_predict, self.time_forward, self.time_backward):
            call(name, batch)  # compiles, and leaves a forward pass for `backward`

    def time_train_step(self, name: str, batch: int) -> None:
        self.net.train_step(self.X, self.Y, self.optimizer)

    def time_predict(self, name: str, batch: int) -> None:
        self.net.predict(self.X)

    def time_forward(self, name: str, batch: int) -> None:
        self.net.forward(self.X)

    def time_backward(self, name: str, batch: int) -> None:
        self.net.backward(self.Y)


class Dropin:
    """The derivation's functions on dictionaries, on one thread."""

    params = (["s", "digits", "mnist"],)
    param_names = ("shape",)
    repeat = (5, 20, 1.0)
    rounds = 1

    def setup(self, name: str) -> None:
        set_num_threads(1)
        case = named(name)
        X, Y = random_data(case, case.batch)
        self.output, self.X, self.Y = case.output, X.T, Y.T
        self.parameters = dropin.initialise_parameters(case.sizes, 0)
        self.cache = dropin.forward_propagation(self.X, self.parameters, self.output)
        self.grads = dropin.backpropagation(self.cache, self.Y, self.parameters)
        self.time_compute_cost(name)
        self.time_update_parameters(name)

    def time_forward_propagation(self, name: str) -> None:
        dropin.forward_propagation(self.X, self.parameters, self.output)

    def time_compute_cost(self, name: str) -> None:
        dropin.compute_cost(self.cache, self.Y, self.output)

    def time_backpropagation(self, name: str) -> None:
        dropin.backpropagation(self.cache, self.Y, self.parameters)

    def time_update_parameters(self, name: str) -> None:
        dropin.update_parameters(self.parameters, self.grads, LR)


class Memory:
    """Peak memory of a whole process; the data take 31 MB, the parameters 0.9 MB."""

    def peakmem_fit_mnist(self) -> None:
        case = named("mnist")
        X, Y = random_data(case, 10_000)
        fastprop.Network(case.sizes, output=case.output, rng=0).fit(
            X, Y, epochs=1, batch_size=case.batch, progress=False
        )
