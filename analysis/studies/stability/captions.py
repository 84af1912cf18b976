"""Captions and symbols of the stability study: what a reader needs besides the numbers."""

from relusweep.analysis.study import Shown

SHOWN: dict[str, Shown] = {
    "stability": Shown(
        "Sharpness and stability norms against the step size",
        "Medians over the seeds of converged runs, with bands from the 10 % to the 90 % quantile. At a linearly stable "
        "minimum 1+2S ≤ 1+2S̃ ≤ λ_max ≤ 2/η; with momentum μ the last is 2(1+μ)/η. The strip gives the share of runs "
        "that converged, spent their step budget, or diverged.",
    ),
    "norms": Shown(
        "Stability norms against their limit",
        "One point a converged run that the bound covers. Lines are least-squares fits of the logarithms; brackets "
        "hold the 95 % interval of the exponent, clustered by seed. Points above the dashed line exceed the bound. "
        "Where the points bend, an exponent is only an average slope.",
    ),
    "edge": Shown(
        "How near to the edge of stability",
        "λ_max η/2 of every converged run; gradient descent is linearly stable at a minimum only up to 1, with "
        "momentum μ up to 1+μ. Values far below mean that training never met the edge, not that its minima are flat.",
    ),
    "errors": Shown(
        "Error against the step size",
        "Medians and 10–90 % bands of converged runs; the test set has noise-free targets. Training stops at a set "
        "loss, so that the training error says only where it stopped.",
    ),
    "paths": Shown(
        "Sharpness along training",
        "Median of λ_max η/2 over the runs of a step size that were still training at that moment.",
    ),
    "checks": Shown(
        "Checks of the bounds",
        "applicable = holds + on_kinks + violates. tightness is the measure over its limit, in quantiles over the "
        "applicable runs; 1 is the bound itself.",
    ),
    "violations": Shown(
        "Violations",
        "Runs beyond a bound that covers them. least_edge_ratio is λ_max on the flattest side of kinks over its limit.",
    ),
    "on_kinks": Shown(
        "Runs on kinks",
        "Beyond a bound as recorded, but with data on kinks, where λ_max depends on the side taken; within it on the "
        "flattest side. Not counted as violations.",
    ),
    "not_covered": Shown(
        "Runs that a bound does not cover", "Each run is counted under the first reason that applies."
    ),
    "fits": Shown(
        "Exponents",
        "Measure ∝ limit^slope by least squares on logarithms; low and high are the ends of the interval, with the "
        "cluster-robust variance (CR1) and Student's quantile with one degree of freedom less than clusters. A cluster "
        "is all runs of one seed on one data seed; seeds and data_seeds count the different ones. note says why there "
        "is no fit.",
    ),
    "chain": Shown(
        "Agreement of the measures",
        "Inequalities that hold at every point of parameter space; a violation would mean a wrong measure. "
        "worst_excess is the largest lower side over upper side, minus 1.",
    ),
    "summary": Shown(
        "Every step size",
        "Counts, and quantiles over the seeds of converged runs (q10, median, q90). edge is 2/η, "
        "with momentum μ 2(1+μ)/η.",
    ),
    "groups": Shown(
        "Groups", "Runs of a group differ only in step size and seeds; columns are what differs between groups."
    ),
}

GLOSSARY: list[tuple[str, str]] = [
    ("η", "step size, column lr"),
    ("μ", "momentum, the factor of heavy ball: m ← μ m + ∇L, θ ← θ − η m; 0 for gd and sgd"),
    ("λ_max", "sharpness: largest eigenvalue of the Hessian of the loss (1/2n) Σ r²"),
    ("λ_max η/2", "eos_ratio; the edge of stability is at 1, with momentum μ at 1+μ"),
    ("S", "stability norm Σ |a_i| ‖w_i‖ g(u_i, t_i) of f(x) = Σ a_i relu(w_i·x + b_i) + c, u = w/‖w‖, t = −b/‖w‖"),
    ("S̃", "oriented stability norm: the same sum with g̃ ≥ g"),
    (
        "g̃(u, t)",
        "A·√(P² + ‖m‖²), with A the mean of relu(u·x−t) over the training inputs, P the share with u·x > t, and m the "
        "mean of x there (0 elsewhere); without hidden biases P is dropped",
    ),
    ("g(u, t)", "the smaller of g̃(u, t) and g̃(−u, −t)"),
    (
        "‖mean ∇f‖²",
        "mean_gradient_bound: squared norm of the mean over training inputs of the gradient in the parameters",
    ),
    ("converged", "the loss stayed at most the run's tolerance"),
    ("budget", "max_steps were taken before that"),
    ("diverged", "the loss grew without bound: an outcome, not an error"),
    ("on kinks", "a training input lies on the boundary of a unit's active side, where the loss has no Hessian"),
]
