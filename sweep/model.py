"""Networks of one or two hidden layers, thousands at once: parameters, initial values, outputs, gradient.

    f(x) = a·σ(W x + b) + c                    depth 1
    f(x) = a·σ(W₂ σ(W₁ x + b₁) + b₂) + c       depth 2
    L = (1/2n) Σ_j (f(x_j) - y_j)²             the ½ is in the loss

B networks are one matrix `theta` (B, p). A layer with q outputs is a block of q rows [w_i, b_i], or [w_i] where it has
no biases: hidden units alone may have them. Inputs come with a column of ones where these do, so that a first layer is
one matrix product, of all networks at once where they share their inputs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from relusweep.sweep import branch, weights_file
from relusweep.sweep.run import Run
from relusweep.sweep.shape import has_output_bias, layer_sizes
from relusweep.sweep.witness import witness

INIT, BATCHES, LABEL_NOISE = 11, 12, 13  # purposes of a run's own random numbers

Inputs = Float[Tensor, "n i"] | Float[Tensor, "B n i"]  # shared by all runs, or one set each; i = d + bias
Slope = Float[Tensor, "B 1 1"] | None  # of the leaky ReLU; None is the ReLU


@dataclass(frozen=True)
class Architecture:
    """Sizes (d, width[, width2], 1), and whether hidden units have biases, and the output."""

    sizes: tuple[int, ...]
    bias: bool
    output_bias: bool

    @staticmethod
    def of(run: Run) -> "Architecture":
        """Return the architecture of a run."""
        return Architecture(layer_sizes(run), run.bias, has_output_bias(run))

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(outputs, inputs + bias) of each layer."""
        return tuple((q, i + bias) for i, q, bias in zip(self.sizes, self.sizes[1:], self.biases, strict=False))

    @property
    def biases(self) -> tuple[bool, ...]:
        """Whether there are biases, layer by layer."""
        return (*[self.bias] * (len(self.sizes) - 2), self.output_bias)

    @property
    def count(self) -> int:
        """Number of parameters p."""
        return sum(q * i for q, i in self.shapes)

    def split(self, theta: Float[Tensor, "B p"]) -> list[Float[Tensor, "B _ _"]]:
        """View the parameters as one (B, q, i) tensor a layer, rows [w_i, b_i]."""
        blocks = theta.split([q * i for q, i in self.shapes], dim=-1)
        return [block.unflatten(-1, shape) for block, shape in zip(blocks, self.shapes, strict=True)]

    def named(self, theta: Float[Tensor, "B p"]) -> dict[str, Tensor]:
        """Split the parameters into weights and biases w1, b1, w2, …; the output layer's are (B, units) and (B,)."""
        named = {}
        for index, rows in enumerate(self.split(theta), 1):
            last = index == len(self.shapes)
            weights = rows[..., : self.sizes[index - 1]]
            named[f"w{index}"] = weights[:, 0] if last else weights
            if self.biases[index - 1]:
                named[f"b{index}"] = rows[:, 0, -1] if last else rows[..., -1]
        return named

    def per_layer(self, values: Sequence[Tensor]) -> Float[Tensor, "B p"]:
        """Repeat one number a run and layer, each (B,), over the parameters of its layer."""
        pieces = [v[:, None].expand(-1, q * i) for v, (q, i) in zip(values, self.shapes, strict=True)]
        return torch.cat(pieces, 1)

    @cached_property
    def by_feature(self) -> Tensor:
        """Indices of the parameters if the first layer goes by features, each for all units."""
        units, features = self.shapes[0]
        first = torch.arange(units * features).view(units, features).T.flatten()
        return torch.cat([first, torch.arange(units * features, self.count)])

    def is_bias(self) -> Tensor:
        """Mark the biases among the p parameters."""
        masks = [torch.zeros(q, i, dtype=torch.bool) for q, i in self.shapes]
        for mask, bias in zip(masks, self.biases, strict=True):
            mask[:, mask.shape[1] - bias :] = True
        return torch.cat([mask.flatten() for mask in masks])


def initial_parameters(run: Run) -> Float[np.ndarray, " p"]:
    """Draw the initial parameters of one run, float64, keyed by its seed.

    With m inputs to a layer of q units, weights are: `pytorch` U(±1/√m), biases too (`torch.nn.Linear`); `kaiming`
    N(0, 2/m) [He et al. 2015]; `xavier` N(0, 2/(m+q)) [Glorot & Bengio 2010]; `lecun` N(0, 1/m) [LeCun et al. 1998],
    all three with zero biases; `normal` N(0, 1), biases too. All are multiplied by init_scale; the output layer's
    weights by output_scale too. (An output factor s in the function itself, as in f = s Σ a_i σ(…), is the same
    training with output_scale = s and lr_ratio = s².) Two are laws of one hidden layer of q units as a whole, with an
    output bias of 0: `balanced` has the rows (w, b) ~ N(0, 1/q), or w alone without biases, and a = ±‖(w, b)‖ with a
    random sign; `dominated` the same rows and a = ±√(‖(w, b)‖² + ξ²), ξ ~ N(0, 1/q), so that a² - ‖(w, b)‖², which
    gradient flow keeps, is positive. `witness` is no law but the network of `sweep.witness`, the same function at every
    init_scale = s and output_scale = a; `file` is that of a file, at every seed the same. A run with from_step begins
    at the weights of another training, as they are.

    Raises:
        DataError: if a file's weights are nowhere, or of another network.
    """
    if run.from_step is not None:
        return np.concatenate([layer.ravel() for layer in branch.weights(run).rows()])
    if run.init == "witness":
        layers = witness(run.d, run.width, run.width2 or 1, run.init_scale, run.output_scale)
        return np.concatenate([layer.ravel() for layer in layers])
    if run.init == "file":
        *layers, output = weights_file.initial(run.__dict__)
        scale = np.where(np.arange(output.shape[1]) < layer_sizes(run)[-2], run.output_scale, 1.0)  # not the bias
        return run.init_scale * np.concatenate([layer.ravel() for layer in (*layers, scale * output)])
    rng = np.random.default_rng([run.seed, INIT])
    if run.init in ("balanced", "dominated"):
        return run.init_scale * _with_outputs_as_large(run, rng)
    architecture, layers = Architecture.of(run), []
    for index, (q, _) in enumerate(architecture.shapes):
        m = architecture.sizes[index]
        weights, biases = _draw(run.init, rng, q, m)
        if index == len(architecture.shapes) - 1:
            weights = weights * run.output_scale
        layers.append(np.concatenate([weights, biases], 1) if architecture.biases[index] else weights)
    return run.init_scale * np.concatenate([layer.ravel() for layer in layers])


def _with_outputs_as_large(run: Run, rng: np.random.Generator) -> np.ndarray:
    """Draw `balanced` or `dominated` parameters of one hidden layer."""
    rows = rng.standard_normal((run.width, run.d + run.bias)) / math.sqrt(run.width)
    signs, further = rng.choice([-1.0, 1.0], run.width), rng.standard_normal(run.width) / math.sqrt(run.width)
    outputs = signs * np.hypot(np.linalg.norm(rows, axis=1), further if run.init == "dominated" else 0.0)
    return np.concatenate([rows.ravel(), run.output_scale * outputs, np.zeros(int(has_output_bias(run)))])


def _draw(init: str, rng: np.random.Generator, q: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    if init == "pytorch":
        return rng.uniform(-1, 1, (q, m)) / math.sqrt(m), rng.uniform(-1, 1, (q, 1)) / math.sqrt(m)
    if init == "normal":
        return rng.standard_normal((q, m)), rng.standard_normal((q, 1))
    variance = {"kaiming": 2 / m, "xavier": 2 / (m + q), "lecun": 1 / m}[init]
    return rng.standard_normal((q, m)) * math.sqrt(variance), np.zeros((q, 1))


def with_ones(x: Float[Tensor, "*B n d"], bias: bool) -> Float[Tensor, "*B n i"]:
    """Append the column of ones that the first layer's biases multiply."""
    return torch.cat([x, torch.ones_like(x[..., :1])], -1) if bias else x


def activate(z: Float[Tensor, "B q n"], slope: Slope) -> Float[Tensor, "B q n"]:
    """Apply ReLU or leaky ReLU."""
    return z.relu() if slope is None else torch.where(z > 0, z, slope * z)


def pull_back(delta: Float[Tensor, "B _ n"], z: Float[Tensor, "B q n"], slope: Slope) -> Float[Tensor, "B q n"]:
    """Multiply by σ'(z), with σ'(0) the slope of the negative side, 0 for the ReLU.

    `delta` may have one row for all units; `z` may be the activations, which have the same sign.
    """
    if slope is None:
        return torch.ops.aten.threshold_backward(delta.expand_as(z), z, 0)
    return torch.where(z > 0, delta, slope * delta)


def forward(
    architecture: Architecture, theta: Float[Tensor, "B p"], x: Inputs, slope: Slope, *, in_place: bool = False
) -> tuple[list[Float[Tensor, "B _ n"]], list[Float[Tensor, "B _ n"]], Float[Tensor, "B n"]]:
    """Compute the pre-activations and activations of the hidden layers, and the outputs.

    In place, a ReLU overwrites its pre-activations: both lists then hold the activations.
    """
    first, *others = architecture.split(theta)
    z = torch.matmul(first, x.mT)  # one product for all runs where x is shared
    before, after = [], []
    for rows in others:
        before.append(z)
        after.append(z.relu_() if in_place and slope is None else activate(z, slope))
        if rows.shape[-1] > after[-1].shape[1]:
            z = torch.baddbmm(rows[..., -1:], rows[..., :-1], after[-1])
        else:
            z = torch.bmm(rows, after[-1])
    return before, after, z[:, 0]


def gradient(
    architecture: Architecture, theta: Float[Tensor, "B p"], x: Inputs, y: Float[Tensor, "B n"], slope: Slope
) -> tuple[Float[Tensor, "B p"], Float[Tensor, " B"]]:
    """Compute the gradient of every run's loss, and the loss itself, by hand and with few passes over (B, units, n).

    The sensitivities of the last hidden layer are a_i e_j σ'(z_ij): the a_i are kept aside as `gain` and multiplied
    into what is small, never into (B, units, n).
    """
    before, after, f = forward(architecture, theta, x, slope, in_place=True)
    residual = f - y
    delta, gain = (residual / y.shape[-1])[:, None, :], None  # ∂L/∂z of the layer at hand is gain · delta
    layers, blocks = architecture.split(theta), []
    for rows, h, z in zip(layers[:0:-1], after[::-1], before[::-1], strict=True):
        block = torch.bmm(delta, h.mT)
        if rows.shape[-1] > h.shape[1]:
            block = torch.cat([block, delta.sum(-1, keepdim=True)], -1)
        blocks.append(_scaled(block, gain).flatten(1))
        weights = _scaled(rows[..., : h.shape[1]], gain)
        if gain is None and len(delta[0]) == 1:
            delta, gain = pull_back(delta, z, slope), weights.mT
        else:
            delta, gain = pull_back(torch.bmm(weights.mT, delta), z, slope), None
    blocks.append(_scaled(torch.matmul(delta, x), gain).flatten(1))
    return torch.cat(blocks[::-1], 1), residual.square().mean(-1) / 2


def _scaled(block: Float[Tensor, "B q i"], gain: Float[Tensor, "B q 1"] | None) -> Float[Tensor, "B q i"]:
    return block if gain is None else gain * block
