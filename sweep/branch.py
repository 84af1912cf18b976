"""Branch: a run that begins at a step of another training, which its own parameters name but for how long it was."""

from collections.abc import Sequence

from relusweep.sweep import contents
from relusweep.sweep.dataset import DataError
from relusweep.sweep.run import Run
from relusweep.sweep.shape import array_shapes
from relusweep.sweep.weights_file import WEIGHTS, Weights

_ANY = 1  # steps of a source, of which its weights at a step do not depend


def key(run: Run) -> str:
    """Return what the weights are called at which a branch begins: the source, and the step."""
    return f"{run.source(_ANY).id}@{run.from_step}"


def source_ids(run: Run, lengths: Sequence[int]) -> list[str]:
    """Return the ids that a branch's source has with each of several max_steps."""
    return [run.source(max_steps).id for max_steps in lengths]


def weights(run: Run) -> Weights:
    """Return the weights at which a branch begins.

    Raises:
        DataError: if no store that was looked in keeps them, or they are another network's.
    """
    name = key(run)
    if (content := contents.branch(name)) is None:
        raise DataError(f"[from] {name}: its weights are not there; expected a store that keeps them. Run its spec.")
    found = WEIGHTS.find(content, f"[from] {name}")
    shapes = array_shapes(run)
    if any(array.shape != shapes.get(each) for each, array in found.arrays.items()):
        raise DataError(f"[from] {name}: the weights are another network's; expected those of the run.")
    return found
