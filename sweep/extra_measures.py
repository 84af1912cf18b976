"""Extra measures: what `[measure] extra` asks for, of a batch of trained networks; and the user's own ones."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from relusweep.sweep import extra, spectrum
from relusweep.sweep.dataset import DataError
from relusweep.sweep.derivatives import gauss_newton_trace
from relusweep.sweep.extra import MOST_COLUMNS
from relusweep.sweep.measured import Measured
from relusweep.sweep.own_module import called, functions
from relusweep.sweep.pack import Pack
from relusweep.sweep.point import Point
from relusweep.sweep.run import Run
from relusweep.sweep.shape import parameter_count
from relusweep.sweep.spec import Measure
from relusweep.sweep.train import Training

Columns = dict[str, Tensor]
_RARELY = 0.1  # of the training inputs


def extra_measures(measure: Measure, networks: Measured) -> Columns:
    """Measure networks: column → (B,), of `spectrum` (B, p).

    Raises:
        TrustError, DataError: for a function of the user's that may not run, fails, or returns something else.
    """
    columns: Columns = {}
    for name in measure.extra:
        if count := extra.eigenvalues(name):
            columns |= dict(zip(extra.columns(name), spectrum.largest(networks.point, count).unbind(1), strict=True))
        elif extra.is_own(name):
            found = _own(name, measure.sources[name], networks)
            if twice := columns.keys() & found.keys():
                raise DataError(f"{name}: its column {min(twice)} is another measure's too. Rename the function.")
            columns |= found
        else:
            columns |= _BUILT_IN[name](networks)
    return columns


def try_out(measure: Measure, run: Run) -> None:
    """Measure a run's network at the start of its training, for what would go wrong at the end.

    Raises:
        TrustError, DataError: as `extra_measures`; and where all eigenvalues of too large a network are asked for.
    """
    if not measure.extra:
        return
    count = parameter_count(run)
    if "spectrum" in measure.extra and count > spectrum.FORMED:
        raise DataError(
            f"[measure] extra: 'spectrum' of a network of {count:,} parameters; expected at most {spectrum.FORMED}. "
            "Ask for 'spectrum:5', the five largest."
        )
    own = measure.model_copy(update={"extra": tuple(filter(extra.is_own, measure.extra))})
    if own.extra:
        point = Training(Pack((run,)), torch.device("cpu")).point(torch.tensor([0, 0]))
        extra_measures(own, Measured((run, run), point))  # of two, or it would be chance that the shape is right


# Built in ------------------------------------------------------------------------------------------------------------


def _trace(networks: Measured) -> Columns:
    """Compute tr ∇²L, which is that of Gauss–Newton: the residual term couples different layers alone."""
    at = networks.point
    return {"trace": at.programs.gauss_newton_trace(at.networks) if at.programs else gauss_newton_trace(at)}


def _activation_rate(networks: Measured) -> Columns:
    rates = torch.cat([(z > 0).double().mean(-1) for z in networks.pre_activations], 1)
    return {
        "activation_rate_mean": rates.mean(1),
        "activation_rate_max": rates.amax(1),
        "rarely_active_fraction": (rates <= _RARELY).double().mean(1),
    }


def _distance(networks: Measured) -> Columns:
    layers = networks.point.architecture.split(networks.parameters - networks.initial_parameters)
    return {f"distance_{k}": torch.linalg.vector_norm(rows, dim=(1, 2)) for k, rows in enumerate(layers, 1)}


def _residual_margin(networks: Measured) -> Columns:
    sizes = networks.residuals.abs()
    if networks.point.n < 2:
        return {"residual_margin": torch.full_like(sizes[:, 0], torch.nan)}
    first, second = sizes.topk(2, dim=1).values.unbind(1)
    return {"residual_margin": first - second}


_BUILT_IN: Mapping[str, Callable[[Measured], Columns]] = {
    "trace": _trace,
    "spectrum": lambda networks: {"spectrum": spectrum.whole(networks.point)},
    "least_eigenvalue": lambda networks: {"least_eigenvalue": spectrum.least(networks.point)},
    "activation_rate": _activation_rate,
    "parameter_l1": lambda networks: {"parameter_l1": networks.parameters.abs().sum(1)},
    "distance": _distance,
    "residual_margin": _residual_margin,
}


# The user's own ------------------------------------------------------------------------------------------------------


def _own(name: str, source: str, networks: Measured) -> Columns:
    count, (measure, _) = len(networks.runs), functions(source, name)
    given = called(measure, name, _apart(networks))
    numbers = _numbers(given, name, count).to(networks.parameters)
    function = extra.function_of(name)
    if numbers.ndim == 1:
        return {function: numbers}
    return {f"{function}_{k}": column for k, column in enumerate(numbers.unbind(1), 1)}


def _apart(networks: Measured) -> Measured:
    """Return copies in the CPU's memory: a function of the user's may write to them, and know nothing of devices."""
    at = networks.point
    theta, x, y = (tensor.detach().to("cpu", copy=True) for tensor in (at.theta, at.x, at.y))
    slope = None if at.slope is None else at.slope.to("cpu", copy=True)
    return Measured(networks.runs, Point(at.architecture, theta, x, y, slope))


def _numbers(given: Any, name: str, count: int) -> Float[Tensor, " B"] | Float[Tensor, "B k"]:
    """Return what a function gave as float64, (B,) or (B, k).

    Raises:
        DataError: if it is something else.
    """
    expected = f"real numbers of the shape ({count},), or ({count}, k) with k at most {MOST_COLUMNS}"
    try:
        array = given.detach().cpu() if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
    except (TypeError, ValueError, RuntimeError):
        array = None
    if array is None or array.is_complex():
        raise DataError(f"{name}: returned {type(given).__name__} for {count} networks; expected {expected}.")
    shape = tuple(array.shape)
    if shape != (count,) and not (len(shape) == 2 and shape[0] == count and 1 <= shape[1] <= MOST_COLUMNS):
        raise DataError(f"{name}: returned the shape {shape} for {count} networks; expected {expected}.")
    return array.double()
