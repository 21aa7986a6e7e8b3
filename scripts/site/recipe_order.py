"""The order of the recipes in the gallery."""

from pathlib import Path

ORDER = (
    "quickstart",
    "learning_rate",
    "unscaled",
    "imbalance",
    "pictures_of_classes",
    "smoothing",
    "averaged_weights",
    "restart",
    "own_step",
    "own_functions",
    "compiled_loop",
    "ensembles",
    "many_processes",
    "mc_dropout",
    "rewards",
    "drift",
    "sparse_text",
    "other_formats",
)


class RecipeOrder:
    """The key by which the recipes of a folder are sorted."""

    def __init__(self, folder: str):
        self.folder = folder

    def __call__(self, name: str) -> int:
        return ORDER.index(Path(name).stem)
