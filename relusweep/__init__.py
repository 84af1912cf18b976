"""relusweep: thousands of tiny ReLU networks trained as one tensor program, and what theory says of their minima.

    Spec.read(path)      a sweep: a TOML file, or the name of a shipped one
    Store.open(path)     a sweep's directory: what `relusweep run` recorded
    Run(problem=…, lr=…) the parameters of one training, and its id
    RelusweepError       the base of what a user sees, in one line

Names are loaded when they are first used: `import relusweep` itself loads nothing.
"""

TYPE_CHECKING = False  # what type checkers take for true, without loading `typing`
if TYPE_CHECKING:
    from relusweep.sweep.errors import RelusweepError
    from relusweep.sweep.run import Run
    from relusweep.sweep.spec import Spec
    from relusweep.sweep.store.store import Store

__all__ = ["RelusweepError", "Run", "Spec", "Store"]

_HOMES = {
    "RelusweepError": "relusweep.sweep.errors",
    "Run": "relusweep.sweep.run",
    "Spec": "relusweep.sweep.spec",
    "Store": "relusweep.sweep.store.store",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'relusweep' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
