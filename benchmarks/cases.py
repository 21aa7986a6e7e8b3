"""The six networks that everything is measured on, and that the tests train too: from tiny to large."""

from typing import NamedTuple


class Case(NamedTuple):
    """A network and the batch that it is trained with."""

    name: str
    sizes: tuple[int, ...]
    hidden: str | tuple[str, ...]
    output: str
    batch: int


SHAPES = (
    Case("xs", (8, 32, 32, 1), "relu", "sigmoid", 32),
    Case("s", (17, 64, 64, 6), "relu", "identity", 64),
    Case("digits", (64, 128, 64, 10), "relu", "softmax", 128),
    Case("mnist", (784, 256, 128, 10), "relu", "softmax", 128),
    Case("wide", (784, 1024, 1024, 10), "relu", "softmax", 256),
    Case("xl", (1024, 4096, 4096, 1024), "relu", "identity", 512),
)
