"""Captions and symbols of the depth study."""

from relusweep.analysis.studies.depth_separation.arms import FITS
from relusweep.analysis.studies.depth_separation.claim import FEW, LARGE, MOST, VANISHING
from relusweep.analysis.study import Shown

SHOWN: dict[str, Shown] = {
    "separation": Shown(
        "Training loss of shallow and deep networks against the step size",
        "Medians over seeds, with 10–90 % bands, as a share of the loss of the best constant (dotted: 1); networks are "
        "numbered by size. Below the solid line, where there is one, no shallow network can be at a twice "
        "differentiable minimum that is stable at η: it is the least of the data sets' certified floors.",
    ),
    "test": Shown(
        "Test error against the step size",
        "Root mean square error on noise-free test data, as a share of that of the best constant.",
    ),
    "sup": Shown("Largest test error against the step size", "max |f(x) - p(x)| over noise-free test data."),
    "curvature": Shown(
        "How near to the edge of stability",
        "λ_max η/2 where training ended; 1 is the edge of gradient descent on all layers.",
    ),
    "norms": Shown(
        "Oriented stability norm against the step size",
        "S̃ of shallow networks and its limit at stable interpolating minima. Away from interpolation it may be larger.",
    ),
    "plain_norms": Shown("Stability norm against the step size", "S of shallow networks, and the same limit."),
    "variation": Shown("Variation norm against the step size", "Σ |a| ‖w‖ of shallow networks; nothing bounds it."),
    "active": Shown(
        "Active units against the step size", "Share of hidden units that are active on some training input."
    ),
    "scaling": Shown(
        "Against sample size, dimension and width",
        "Median training loss over that of the best constant, at one step size; dashed with squares: shallow, solid "
        "with circles: the largest deep ones. Runs are those of the claim; what is fixed is what most of them have.",
    ),
    "critical": Shown(
        "Critical step sizes",
        "Largest step size at which shallow fits, and the next at which it does not though deep does: medians over "
        "seeds (thick), 80 % of them (thin). Where step sizes were refined for the shallow network alone, the deep one "
        "at the next larger step speaks for it. ratio: median over seeds of the one over the other. Pairs whose "
        "shallow network fits at no step size (never) have none.",
    ),
    "functions": Shown(
        "Learnt functions",
        "The pyramid in d = 2, and what one shallow and one deep run made of it, inside the ball of the inputs; below, "
        "a section through the top. One pair of runs, the first by seed at the largest step size with separation.",
    ),
    "controls": Shown(
        "Claim and controls",
        f"Pairs of a shallow (or frozen) and a deep run of equal setting, step size and seeds, η ≥ {LARGE:g} "
        f"(vanishing: η ≤ {VANISHING:g}, with steps enough to get as far). separated: the deep one fits and the other "
        "does not; forbidden: of these, by the certified floor no shallow network fits at a twice differentiable "
        "minimum that is stable at η; forbidden_fits: it does all the same, whether or not the deep one does; "
        f"share is of the pairs whose deep one fits. From {MOST:.0%} on there is separation, up to {FEW:.0%} none.",
    ),
    "widest": Shown(
        "The widest shallow networks alone",
        "Pairs of the claim with the widest shallow network of their setting, by dimension, sample size and step size: "
        "in how many the shallow one fits, the deep one fits, the deep one alone, and a floor forbids the shallow one. "
        "Narrower networks may fail for want of units.",
    ),
    "floors": Shown(
        "Certified floors",
        "Least root mean square error on the data of all shallow networks with S̃ ≤ budget + slack · error; floor_rmse "
        "is proved by a certificate, reached_rmse attained by a network, gap between them.",
    ),
    "sup_floors": Shown(
        "Certified floors of the sup-error",
        "Least max |f(x) - y| on the data of all shallow networks with norm ≤ budget = 1/η - ½, in three norms: "
        "floor_sup is proved by a certificate, reached_sup attained by a network, gap between them. stable_sup, also "
        "proved, is that of all twice differentiable minima that are stable at η: their norm may exceed it by slack · "
        "error.",
    ),
    "needed": Shown(
        "What norm an error needs",
        "The least norm on the data of all shallow networks with sup-error at most error: certified (lower), attained "
        "(upper), gap between them. Beyond largest_lr no twice differentiable minimum with that error is stable; up to "
        "reached_lr, for S_G, a function with it has a stable implementation for its own values as labels.",
    ),
    "scalings": Shown(
        "The witness",
        "Two hidden layers that are the pyramid exactly: λ_max on the data and the largest stable step 2/λ, as its "
        "layers come and at the flattest scaling (first layer times s, output weight a).",
    ),
    "below_floor": Shown(
        "Runs below their floor", "There should be none: the floor at a run's own λ_max is a theorem."
    ),
    "witness": Shown(
        "Runs that began at the witness",
        "largest_lr is 2/λ of the witness on the run's data; stays: the final loss is rounding.",
    ),
    "constants": Shown(
        "The best constant",
        "Half the variance of the training labels, and what it is for the law of the data (law_constant_loss).",
    ),
    "rates": Shown(
        "Exponents",
        "measure ∝ against^slope with all else fixed; low and high are the ends of the interval. Its clusters are "
        "pairs of seed and data seed, as if pairs were independent: given one or two data sets it says how the initial "
        "weights scatter on them, not how data sets do. From three data seeds on clusters are data seeds. Shallow "
        "networks only, but for n.",
    ),
    "summary": Shown(
        "Every setting, network and step size",
        "Counts, the share that fits, and quantiles over the runs that did not diverge.",
    ),
    "settings": Shown("Settings", "What runs of a setting share, besides what all runs do."),
}

GLOSSARY: list[tuple[str, str]] = [
    ("η", "step size, column lr"),
    ("fits", f"the training loss is at most {FITS:.0%} of that of the best constant"),
    ("tail_loss", "mean training loss over the last tenth of the steps where moments were recorded, else the last one"),
    ("relative_loss", "tail_loss over the loss of the best constant on the same data"),
    ("setting", "all that runs share but depth, widths, step size and seeds"),
    ("deep", "two hidden layers"),
    ("frozen", "two hidden layers, the second left as it was drawn"),
    ("witness", "the pyramid as an explicit network of two hidden layers"),
    ("λ_max", "sharpness: largest eigenvalue of the Hessian of the loss (1/2n) Σ r²"),
    ("S̃", "oriented stability norm Σ |a_i| ‖w_i‖ g̃(u_i, t_i) of a shallow network"),
    ("floor", "certified least root mean square error of all shallow networks within a budget of S̃"),
    ("slack", "½√(1 + R²), R = max ‖x‖: how much more S̃ a minimum may have for each unit of its error"),
]
