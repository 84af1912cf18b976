"""The floor: what no stable shallow network can do better on given data, with a certificate.

Read `certificate` for the theorem, then `arrangement` (how hyperplanes split the data), `dictionary` (the finitely many
units that suffice), `programme` (the best network of a few units), `network` and `floors` (the search over all units).

    >>> import numpy as np
    >>> floors = Floors(np.array([[-1.0], [0.0], [1.0]]), np.array([0.0, 0.7, 0.0]))
    >>> found = floors.least_error(budget(1.6))
    >>> found.lower <= found.upper
    True
"""

from relusweep.analysis.floor.arrangement import Arrangement, ArrangementError, splits
from relusweep.analysis.floor.certificate import Certificate, ErrorMeasure, FloorError, budget, residual_slack
from relusweep.analysis.floor.dictionary import Dictionary, Norm
from relusweep.analysis.floor.floors import Floor, Floors
from relusweep.analysis.floor.network import Network

__all__ = [
    "Arrangement",
    "ArrangementError",
    "Certificate",
    "Dictionary",
    "ErrorMeasure",
    "Floor",
    "FloorError",
    "Floors",
    "Network",
    "Norm",
    "budget",
    "residual_slack",
    "splits",
]
