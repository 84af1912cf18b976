"""Measures of deep networks, and of those with many features, on the CPU: compiled, a network at a time.

The products of matrices are left to BLAS on one thread; of a network alone they do not depend on the others of its
pack. With n samples and layers of q units whose rows [w, b] multiply i inputs, the output a layer like the others:
δ = ∂f/∂z (n, q) and the inputs h̃ (n, i) of all layers make the Jacobian, as in `sweep.measure`, and a product with the
Hessian is the gradient differentiated along v.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from relusweep.sweep.kernels.jit.compiled import compiled
from relusweep.sweep.kernels.measures.krylov import BASIS, assign, has_product, improve, search
from relusweep.sweep.kernels.measures.survey import Survey
from relusweep.sweep.kernels.training.blas import one_thread
from relusweep.sweep.lanczos import Eigenpair, perturbation
from relusweep.sweep.model import Architecture, Inputs, Slope


class Layers(NamedTuple):
    """A network between two products: an array a layer, first to last."""

    firsts: Any  # where its rows begin among the p parameters
    plain: Any  # its weights without biases (q, i - bias)
    inputs: Any  # what its rows multiply (n, i)
    gains: Any  # σ'(z) (n, q)
    deltas: Any  # ∂f/∂z (n, q)
    forces: Any  # ∂L/∂z (n, q)
    changes: Any  # z, then what changes along a vector (n, q)
    backs: Any  # what comes back from the layers above (n, q)
    turned: Any  # the plain part of a vector's rows (q, i - bias)
    residual: Any  # f - y (n,), no array a layer
    exact: Any  # whether the matrix is the Hessian, and not Gauss–Newton


def survey(architecture: Architecture, theta: Tensor, x: Inputs, y: Tensor, slope: Slope) -> Survey:
    """Survey networks theta (B, p) on inputs (n, i) or (B, n, i) with targets (B, n), slopes (B, 1, 1), all float64."""
    found = theta.new_full((len(Survey._fields), len(theta)), torch.nan)
    _survey(*_arrays(theta, x, y, slope), architecture.bias, _layers(architecture, y.shape[1]), found.numpy())
    return Survey(*found)


def top_eigenpair(
    architecture: Architecture,
    theta: Tensor,
    x: Inputs,
    y: Tensor,
    slope: Slope,
    *,
    exact: bool,
    start: Tensor | None = None,
    tolerance: float = 1e-6,
) -> Eigenpair:
    """Find the top eigenpair of the Hessian, or of Gauss–Newton if not `exact`, of every network.

    Args:
        architecture: Of all networks.
        theta: Weights (B, p), float64 as everything else.
        x: Inputs with the column of ones, (n, i) or (B, n, i).
        y: Targets (B, n).
        slope: Of the negative side, (B, 1, 1).
        exact: Whether the residual term counts.
        start: Where to begin, (B, p); the mean gradient if not given.
        tolerance: Wanted residual, relative to the eigenvalue.
    """
    vector = torch.empty_like(theta) if start is None else start.clone()
    value, residual = torch.empty_like(theta[:, 0]), torch.empty_like(theta[:, 0])
    _top_eigenpairs(
        *_arrays(theta, x, y, slope), architecture.bias, _layers(architecture, y.shape[1], exact=exact),
        perturbation(theta).numpy(), tolerance, start is not None, value.numpy(), vector.numpy(), residual.numpy(),
    )  # fmt: skip
    return Eigenpair(value, vector, residual)


def on_kink(
    architecture: Architecture,
    theta: Tensor,
    x: Inputs,
    y: Tensor,
    slope: Slope,
    lr: Float[Tensor, " B"],
    rounding: float,
) -> list[Bool[Tensor, "B _ n"]]:
    """Mark the pairs (unit, datum) with |z| < rounding · ‖w‖, and those whose z a step of gd changes by |z| or more."""
    marks = tuple(torch.empty(len(theta), q, y.shape[1], dtype=torch.bool) for q in architecture.sizes[1:])
    _on_kink(
        *_arrays(theta, x, y, slope), architecture.bias, _layers(architecture, y.shape[1]), lr.numpy(), rounding,
        tuple(marked.numpy() for marked in marks),
    )  # fmt: skip
    return list(marks[:-1])


def least_over_modes(
    architecture: Architecture,
    theta: Tensor,
    x: Inputs,
    y: Tensor,
    slope: Slope,
    top: Eigenpair,
    kinks: list[Bool[Tensor, "B _ n"]],
    tolerance: float = 1e-9,
) -> Tensor:
    """Lower the top eigenvalue of Gauss–Newton, `top`, by one greedy pass over the pairs on kinks; gives (B,)."""
    least = top.value.clone()
    found = [torch.nonzero(marked) for marked in kinks]
    pairs = torch.cat([torch.cat([p, torch.full_like(p[:, :1], layer)], 1) for layer, p in enumerate(found)])
    pairs = pairs[torch.sort(pairs[:, 0], stable=True).indices]
    first = torch.searchsorted(pairs[:, 0].contiguous(), torch.arange(len(theta) + 1))
    _least_over_modes(
        *_arrays(theta, x, y, slope), architecture.bias, _layers(architecture, y.shape[1]), perturbation(theta).numpy(),
        tolerance, pairs.numpy(), first.numpy(), top.vector.contiguous().numpy(), least.numpy(),
    )  # fmt: skip
    return least


def _arrays(theta: Tensor, x: Inputs, y: Tensor, slope: Slope) -> tuple[Any, ...]:
    """Give weights (B, p), inputs (1, n, i) of all or (B, n, i), targets (B, n), slopes (B,)."""
    one_thread()
    slopes = torch.zeros_like(theta[:, 0]) if slope is None else slope.flatten()
    return tuple(tensor.contiguous().numpy() for tensor in (theta, x[None] if x.ndim == 2 else x, y, slopes))


def _layers(architecture: Architecture, n: int, *, exact: bool = False) -> Layers:
    """Give the room that one network after the other takes."""
    shapes = architecture.shapes
    firsts = tuple(sum(q * i for q, i in shapes[:index]) for index in range(len(shapes)))
    gains, deltas, forces, changes, backs = (tuple(np.empty((n, q)) for q, _ in shapes) for _ in range(5))
    plain, turned = (tuple(np.empty((q, i - architecture.bias)) for q, i in shapes) for _ in range(2))
    inputs = tuple(np.empty((n, i)) for _, i in shapes)
    return Layers(firsts, plain, inputs, gains, deltas, forces, changes, backs, turned, np.empty(n), exact)


@compiled
def _rows(vector, layers, index):
    """View the rows (q, i) of a layer in a vector of all parameters."""
    q, i = layers.deltas[index].shape[1], layers.inputs[index].shape[1]
    first = layers.firsts[index]
    return vector[first : first + q * i].reshape(q, i)


@compiled
def _forward(theta, x, y, slope, bias, layers, before):
    """Fill inputs, gains, plain and the residual, and the pre-activations `before`, an array (n, q) a layer."""
    last = len(layers.inputs) - 1
    layers.inputs[0][:] = x
    for index in range(last + 1):
        rows, z, plain = _rows(theta, layers, index), before[index], layers.plain[index]
        plain[:] = rows[:, : plain.shape[1]]
        np.dot(layers.inputs[index], rows.T, z)
        gains = layers.gains[index]
        if index == last:
            gains[:] = 1.0
            layers.residual[:] = z[:, 0] - y
        else:
            h = layers.inputs[index + 1]
            for j in range(len(z)):
                for i in range(z.shape[1]):
                    gains[j, i] = 1.0 if z[j, i] > 0.0 else slope
                    h[j, i] = gains[j, i] * z[j, i]
                if bias:
                    h[j, z.shape[1]] = 1.0


@compiled
def _sensitivities(layers):
    """Fill deltas from gains and plain weights, and forces from these and the residual."""
    n, last = len(layers.residual), len(layers.inputs) - 1
    layers.deltas[last][:] = 1.0
    for index in range(last, -1, -1):
        delta, force, gains = layers.deltas[index], layers.forces[index], layers.gains[index]
        if index < last:
            np.dot(layers.deltas[index + 1], layers.plain[index + 1], delta)
        for j in range(n):
            for i in range(delta.shape[1]):
                delta[j, i] *= gains[j, i]
                force[j, i] = layers.residual[j] / n * delta[j, i]


@compiled
def _pull(layers, factors, image):
    """Write Σ_j factors_j ∇f(x_j) to `image` (p,)."""
    for index in range(len(layers.inputs)):
        back, delta = layers.backs[index], layers.deltas[index]
        for j in range(len(back)):
            for i in range(back.shape[1]):
                back[j, i] = factors[j] * delta[j, i]
        np.dot(back.T, layers.inputs[index], _rows(image, layers, index))


@compiled
def _product(layers, v, image):
    """Write the Hessian's product with v, or Gauss–Newton's, to `image`."""
    n, last = len(layers.residual), len(layers.inputs) - 1
    for index in range(last + 1):
        change, back = layers.changes[index], layers.backs[index]
        np.dot(layers.inputs[index], _rows(v, layers, index).T, change)
        if index:
            np.dot(layers.changes[index - 1], layers.plain[index].T, back)
            change += back
        change *= layers.gains[index]
    along = layers.changes[last] / n
    if not layers.exact:
        _pull(layers, along[:, 0], image)
        return
    layers.backs[last][:] = along
    for index in range(last, -1, -1):
        back, force, into = layers.backs[index], layers.forces[index], _rows(image, layers, index)
        np.dot(back.T, layers.inputs[index], into)
        if index:
            turned, below, change = layers.turned[index], layers.backs[index - 1], layers.changes[index - 1]
            np.dot(force.T, change, turned)
            into[:, : turned.shape[1]] += turned
            turned[:] = _rows(v, layers, index)[:, : turned.shape[1]]
            np.dot(force, turned, change)
            np.dot(back, layers.plain[index], below)
            below += change
            below *= layers.gains[index - 1]


has_product(Layers, lambda network, v, image: _product(network, v, image))  # noqa: PLW0108 - compiled as it stands


@compiled
def _top_eigenpairs(theta, x, y, slopes, bias, layers, perturbation, tolerance, given, value, vector, residual):
    """Fill value (B,), vector (B, p) and residual (B,); the first arguments are those of `_arrays`.

    `perturbation` (p,) is added to every unit start; `given` says to start from what is in `vector`, and not from the
    mean gradient.
    """
    count, p = theta.shape
    ones = np.full(len(layers.residual), 1 / len(layers.residual))
    basis, projected = np.empty((BASIS + 1, p)), np.zeros((BASIS, BASIS))
    current, image = np.empty(p), np.empty(p)
    for b in range(count):
        _forward(theta[b], x[b if len(x) > 1 else 0], y[b], slopes[b], bias, layers, layers.changes)
        _sensitivities(layers)
        if given:
            assign(current, 0.0, 1.0, vector[b])
        else:
            _pull(layers, ones, current)
        value[b], residual[b] = improve(layers, basis, projected, perturbation, current, image, tolerance)
        assign(vector[b], 0.0, 1.0, current)


@compiled
def _survey(theta, x, y, slopes, bias, layers, found):
    """Fill `found`, a row a number of `Survey`; the other arguments are those of `_arrays`."""
    (count, p), n = theta.shape, len(layers.residual)
    gradient, ones = np.empty(p), np.full(n, 1 / n)
    for b in range(count):
        weights, inputs = theta[b], x[b if len(x) > 1 else 0]
        _forward(weights, inputs, y[b], slopes[b], bias, layers, layers.changes)
        squares, absolutes, largest, finite = 0.0, 0.0, 0.0, True
        for j in range(n):
            away = abs(layers.residual[j])
            squares += away**2
            absolutes += away
            largest = max(largest, away)
            finite &= away < np.inf  # np.isfinite subtracts, and differences of equals are taken for 0 here
        dead, units = 0, 0
        for index in range(len(layers.inputs) - 1):
            z = layers.changes[index]
            units += z.shape[1]
            for i in range(z.shape[1]):
                alive = False
                for j in range(n):
                    alive |= z[j, i] > 0.0
                dead += not alive
        _sensitivities(layers)
        _pull(layers, ones, gradient)
        found[:6, b] = (
            1.0 if finite else 0.0, squares / n / 2, largest, (gradient**2).sum(), np.sqrt((weights**2).sum()),
            dead / units,
        )  # fmt: skip
        if len(layers.inputs) == 2:
            found[6:9, b] = _norms(weights, slopes[b], layers)
            farthest = 0.0
            for j in range(n):
                farthest = max(farthest, (inputs[j] ** 2).sum())
            found[9, b] = absolutes / n * np.sqrt(farthest)


@compiled
def _norms(theta, slope, layers):
    """Give the stability norm, the oriented one, and the variation norm of a shallow network; z is in `changes`."""
    z, x, rows, plain = layers.changes[0], layers.inputs[0], _rows(theta, layers, 0), layers.plain[0]
    a, n = layers.plain[1][0], len(layers.residual)
    side, slant, slant_behind = np.empty(n), np.empty(rows.shape[1]), np.empty(rows.shape[1])
    shallow, oriented, variation = 0.0, 0.0, 0.0
    for i in range(len(a)):
        height, height_behind = 0.0, 0.0
        for j in range(n):
            side[j] = 1.0 if z[j, i] > 0.0 else slope
            height += side[j] * z[j, i]
        np.dot(side, x, slant)
        for j in range(n):
            side[j] = 1.0 if z[j, i] < 0.0 else slope
            height_behind -= side[j] * z[j, i]
        np.dot(side, x, slant_behind)
        ahead = abs(height) * np.sqrt((slant**2).sum()) / n**2
        behind = abs(height_behind) * np.sqrt((slant_behind**2).sum()) / n**2
        oriented += abs(a[i]) * ahead
        shallow += abs(a[i]) * min(ahead, behind)
        variation += abs(a[i]) * np.sqrt((plain[i] ** 2).sum())
    return shallow, oriented, variation


@compiled
def _on_kink(theta, x, y, slopes, bias, layers, lr, rounding, marks):
    """Fill `marks`, (B, q, n) a layer; the other arguments are those of `_arrays`, and lr (B,)."""
    (count, p), n = theta.shape, len(layers.residual)
    gradient = np.empty(p)
    for b in range(count):
        inputs = x[b if len(x) > 1 else 0]
        _forward(theta[b], inputs, y[b], slopes[b], bias, layers, layers.changes)
        _sensitivities(layers)
        _pull(layers, layers.residual / n, gradient)
        _forward(theta[b] - lr[b] * gradient, inputs, y[b], slopes[b], bias, layers, layers.backs)
        for index in range(len(layers.inputs) - 1):
            z, moved, marked = layers.changes[index], layers.backs[index], marks[index][b]
            rows = _rows(theta[b], layers, index)[:, : layers.plain[index].shape[1]]
            for i in range(len(rows)):
                near = rounding * np.sqrt((rows[i] ** 2).sum())
                for j in range(n):
                    reached = moved[j, i] != z[j, i] and abs(moved[j, i] - z[j, i]) >= abs(z[j, i])
                    marked[i, j] = reached or abs(z[j, i]) < near


@compiled
def _least_over_modes(theta, x, y, slopes, bias, layers, perturbation, tolerance, pairs, first, vector, least):
    """Flip σ' of one (network, unit, datum, layer) of `pairs` after the other; keep what lowers `least` (B,).

    The pairs of network b are those from first[b] to first[b + 1]; `vector` (B, p) has its top eigenvector.
    """
    count, p = theta.shape
    basis, projected = np.empty((BASIS + 1, p)), np.zeros((BASIS, BASIS))
    current, trial, image = np.empty(p), np.empty(p), np.empty(p)
    for b in range(count):
        if first[b] == first[b + 1]:
            continue
        _forward(theta[b], x[b if len(x) > 1 else 0], y[b], slopes[b], bias, layers, layers.changes)
        current[:] = vector[b]
        for t in range(first[b], first[b + 1]):
            unit, datum, gains = pairs[t, 1], pairs[t, 2], layers.gains[pairs[t, 3]]
            old = gains[datum, unit]
            gains[datum, unit] = slopes[b] if old == 1.0 else 1.0
            _sensitivities(layers)
            trial[:] = current
            top, _ = search(layers, basis, projected, perturbation, trial, image, tolerance)
            if top < least[b]:
                least[b] = top
                current[:] = trial
            else:
                gains[datum, unit] = old
