"""λ_max of the exact Hessian of many trained networks: relusweep, all at once, against one network at a time.

Shallow networks of width 64 in float64 on n = 128 samples, after 1000 steps of gradient descent, step sizes log-spaced:
the pyramid in d = 2 (p = 257 parameters) and scikit-learn's digits in d = 64 (p = 4225).

    torch + eigsh        Hessian–vector products by double backward, ARPACK; what one writes by hand
    curvlinops + eigsh   `HessianLinearOperator`, ARPACK
    PyHessian            power iteration as it comes: until two values differ by 1e-3, or 100 products
    PyHessian, tol 1e-9  until they differ by 1e-9, or 5000 products

relusweep and ARPACK stop at a residual of 1e-7 of the eigenvalue. Every contender's values are compared with the dense
Hessian, formed column by column and diagonalised.
"""

import importlib.util
import sys
import warnings
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from pinned import interleaved, pin, ratio, spread
from rich import box
from rich.console import Console
from rich.table import Table
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

from relusweep.sweep.curvature import hessian_top
from relusweep.sweep.data import dataset
from relusweep.sweep.model import Architecture
from relusweep.sweep.pack import Pack
from relusweep.sweep.point import Point
from relusweep.sweep.run import Run
from relusweep.sweep.train import Training

NETWORKS, STEPS, REPETITIONS = 64, 1000, 5
ALONE = 8  # networks, of the same ones, on which the one-at-a-time peers are timed
TOLERANCE = 1e-7  # of relusweep's Lanczos, hence of ARPACK
AGREEMENT = 1e-6  # demanded of all but PyHessian, relative to the dense eigenvalue


class HalfSquare(nn.Module):
    """(1/2n) Σ r²."""

    reduction = "mean"

    def forward(self, f: Tensor, y: Tensor) -> Tensor:
        return 0.5 * (f - y).square().mean()


class Networks:
    """The trained networks, stacked for relusweep; and some of them, `which`, as modules for the others."""

    def __init__(self, problem: str) -> None:
        rates = np.geomspace(0.01, 0.3, NETWORKS).tolist()
        fixed = {"problem": problem, "n": 128, "width": 64, "tolerance": 0.0}
        runs = [Run.model_validate(fixed | {"lr": lr, "seed": seed}) for seed, lr in enumerate(rates)]
        training = Training(Pack(tuple(runs)), torch.device("cpu"))
        training.advance(STEPS, lambda: None)
        everything = slice(0, NETWORKS)
        x, y = training.inputs(everything)
        architecture, theta = Architecture.of(runs[0]), training.state["theta"]
        self.point = Point(architecture, theta, x, y, None)
        self.which = list(range(0, NETWORKS, NETWORKS // ALONE))
        data = dataset(runs[0].model_dump())
        self.x, self.y = torch.from_numpy(data.x), torch.from_numpy(data.y)[:, None]
        self.modules = []
        for b in self.which:
            module = nn.Sequential(nn.Linear(runs[0].d, runs[0].width), nn.ReLU(), nn.Linear(runs[0].width, 1)).double()
            named = architecture.named(theta[b : b + 1])
            nn.utils.vector_to_parameters(torch.cat([w.flatten() for w in named.values()]), module.parameters())
            self.modules.append(module)


def dense(networks: Networks) -> np.ndarray:
    """Compute λ_max of the networks `which`, from the whole matrix by autograd."""
    found = []
    for module in networks.modules:
        product, p = by_hand(networks, module)
        hessian = np.stack([product(column) for column in np.eye(p)])
        found.append(np.linalg.eigvalsh((hessian + hessian.T) / 2)[-1])
    return np.array(found)


def by_hand(networks: Networks, module: nn.Module) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """Return v ↦ ∇²L v of one module, and p."""
    parameters = list(module.parameters())
    gradients = torch.autograd.grad(HalfSquare()(module(networks.x), networks.y), parameters, create_graph=True)
    flat = torch.cat([g.flatten() for g in gradients])

    def product(v: np.ndarray) -> np.ndarray:
        image = torch.autograd.grad(flat, parameters, torch.from_numpy(v).flatten(), retain_graph=True)
        return torch.cat([g.flatten() for g in image]).numpy()

    return product, len(flat)


def relusweep(networks: Networks) -> np.ndarray:
    fresh = Point(networks.point.architecture, networks.point.theta, networks.point.x, networks.point.y, None)
    return hessian_top(fresh).value.numpy()


def torch_eigsh(networks: Networks) -> np.ndarray:
    found = []
    for module in networks.modules:
        product, p = by_hand(networks, module)
        operator = LinearOperator((p, p), matvec=product, dtype=np.float64)
        found.append(eigsh(operator, 1, which="LA", tol=TOLERANCE, return_eigenvectors=False)[0])
    return np.array(found)


def curvlinops_eigsh(networks: Networks) -> np.ndarray:
    from curvlinops import HessianLinearOperator

    found = []
    for module in networks.modules:
        data = [(networks.x, networks.y)]
        parameters = list(module.parameters())
        operator = HessianLinearOperator(module, HalfSquare(), parameters, data, check_deterministic=False)
        scipy = operator.to_scipy(np.float64)
        found.append(eigsh(scipy, 1, which="LA", tol=TOLERANCE, return_eigenvectors=False)[0])
    return np.array(found)


def pyhessian_power(networks: Networks, **options: float) -> np.ndarray:
    from pyhessian import hessian

    found = []
    for module in networks.modules:
        module.zero_grad()
        values, _ = hessian(module, HalfSquare(), data=(networks.x, networks.y), cuda=False).eigenvalues(**options)
        module.zero_grad()  # its graph refers to itself
        found.append(values[0])
    return np.array(found)


def main() -> None:
    out = Console(width=110, highlight=False)
    out.print(pin())
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", "Using backward", UserWarning)  # by PyHessian; its cycle is cut
    torch.set_default_dtype(torch.float64)  # PyHessian draws its start vector in the default type
    contenders: dict[str, Callable[[Networks], np.ndarray]] = {"relusweep": relusweep, "torch + eigsh": torch_eigsh}
    peers = {
        "curvlinops": {"curvlinops + eigsh": curvlinops_eigsh},
        "pyhessian": {
            "PyHessian": pyhessian_power,
            "PyHessian, tol 1e-9": lambda networks: pyhessian_power(networks, tol=1e-9, maxIter=5000),
        },
    }
    for package, more in peers.items():
        if importlib.util.find_spec(package):
            contenders |= more
        else:
            out.print(f"{package} is not installed (make bench installs it): going on without that peer")

    for problem in ("pyramid", "digits"):
        networks = Networks(problem)
        truth = dense(networks)
        values: dict[str, np.ndarray] = {}

        def work(name: str, networks: Networks = networks, values: dict[str, np.ndarray] = values) -> None:
            values[name] = contenders[name](networks)

        seconds = interleaved({name: lambda name=name: work(name) for name in contenders}, REPETITIONS)
        values["relusweep"] = values["relusweep"][networks.which]
        each = {name: [s / (NETWORKS if name == "relusweep" else ALONE) for s in t] for name, t in seconds.items()}
        d, p = networks.x.shape[1], networks.point.architecture.count
        out.print(f"\n{problem}, d = {d}, p = {p}: {NETWORKS} networks at once, {ALONE} of them one at a time")
        out.print(f"λ_max from {truth.min():.2f} to {truth.max():.2f}; medians of {REPETITIONS} repetitions")
        table = Table("", "ms a network", "spread", "takes × relusweep", "largest relative error", box=box.SIMPLE)
        for name, times in each.items():
            error = np.abs(values[name] / truth - 1).max()
            if not name.startswith("PyHessian") and not error <= AGREEMENT:
                sys.exit(f"{name} is off by {error:.1e}; expected at most {AGREEMENT:.0e}")
            times_ours = f"{ratio(times, each['relusweep']):.1f}"
            table.add_row(name, f"{1e3 * median(times):.2f}", spread(times), times_ours, f"{error:.0e}")
        out.print(table)


if __name__ == "__main__":
    main()
