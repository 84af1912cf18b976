"""Programs: the contract of compiled measures, the sets of them that there are, and the one that measures networks."""

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from relusweep.sweep.kernels.measures import layered, shallow
from relusweep.sweep.kernels.measures.networks import Networks
from relusweep.sweep.kernels.measures.survey import Survey
from relusweep.sweep.lanczos import Eigenpair


@runtime_checkable
class Programs(Protocol):
    """What every set of compiled measures offers: equal to the tensors of `sweep.measure`, but for rounding.

    They measure on the CPU, a network alone after the other, so that no number depends on the others of a pack: bit for
    bit. A set is a module.
    """

    def supports(self, networks: Networks) -> bool:
        """Return whether these programs measure networks of this architecture on these inputs."""
        ...

    def survey(self, networks: Networks) -> Survey:
        """Return what one pass over the samples shows of every network."""
        ...

    def gauss_newton_trace(self, networks: Networks) -> Float[Tensor, " B"]:
        """Compute the trace of Gauss–Newton, which is that of the Hessian."""
        ...

    def top_eigenpair(
        self,
        networks: Networks,
        *,
        exact: bool,
        start: Float[Tensor, "B p"] | None = None,
        tolerance: float = 1e-6,
    ) -> Eigenpair:
        """Find the top eigenpair of the Hessian, or of Gauss–Newton if not `exact`, of every network.

        `rest` is known of Gauss–Newton alone.

        Args:
            networks: At the point where the matrix is wanted.
            exact: Whether the residual term counts.
            start: Where to begin; the mean gradient if not given.
            tolerance: Wanted residual, relative to the eigenvalue.
        """
        ...

    def largest_eigenvalues(
        self, networks: Networks, count: int, tolerance: float, *, exact: bool = True
    ) -> tuple[Float[Tensor, "B k"], Float[Tensor, "B k"], Float[Tensor, " B"]]:
        """Find the largest eigenvalues of the Hessian, or of Gauss–Newton if not `exact`, from a space of 48 vectors.

        Returns:
            values: From the largest on; NaN where none was found.
            residuals: Some eigenvalue lies as near to each; infinite where none was found.
            rest: No more eigenvalues than were asked for are larger; infinite of deep Hessians.
        """
        ...

    def on_kink(self, networks: Networks, lr: Float[Tensor, " B"], rounding: float) -> list[Bool[Tensor, "B _ n"]]:
        """Mark, layer by layer, the pairs (unit, datum) that lie on a kink.

        Those with |z| < rounding · ‖w‖, and those whose z a step of gd changes by |z| or more.
        """
        ...

    def least_over_modes(
        self,
        networks: Networks,
        top: Eigenpair,
        kinks: list[Bool[Tensor, "B _ n"]],
        tolerance: float = 1e-9,
    ) -> Float[Tensor, " B"]:
        """Lower the top eigenvalue of Gauss–Newton, `top`, by one greedy pass over the pairs on kinks.

        NaN where a mode's largest eigenvalue was not proved to be it.
        """
        ...


# The first that supports networks measures them: loops over few features before matrix products, which take all.
PROGRAMS: tuple[Programs, ...] = (shallow, layered)


def choose(networks: Networks) -> Programs | None:
    """Return what measures these networks on the CPU; None on other devices, where tensors do."""
    if networks.theta.device.type != "cpu":
        return None
    return next(programs for programs in PROGRAMS if programs.supports(networks))
