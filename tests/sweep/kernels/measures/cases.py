"""Shapes of networks of every kind that compiled measures take."""

from hypothesis import strategies as st

_ANY = {
    "n": st.integers(1, 40),
    "bias": st.sampled_from([True, False, "hidden"]),
    "activation": st.sampled_from(["relu", "leaky_relu"]),
}
_SHALLOW = {"d": st.sampled_from([1, 2, 5]), "width": st.integers(1, 33)}  # each d is a program of its own
_WIDE = {"d": st.integers(16, 30), "width": st.integers(1, 20)}
_DEEP = {"depth": st.just(2), "d": st.integers(1, 20), "width": st.integers(1, 17), "width2": st.integers(1, 9)}
CASES = st.one_of([st.fixed_dictionaries(_ANY | kind) for kind in (_SHALLOW, _WIDE, _DEEP)])
LARGE = [{"width": 9, "d": 2}, {"width": 9, "d": 20}, {"depth": 2, "width": 9, "width2": 5, "d": 2}]
