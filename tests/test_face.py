"""The public face: what `import relusweep` gives, and what it costs."""

import subprocess
import sys

import pytest

import relusweep


def test_face_gives_what_it_lists():
    assert sorted(relusweep.__all__) == relusweep.__all__ == dir(relusweep)
    for name in relusweep.__all__:
        assert getattr(relusweep, name).__name__ == name


def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(AttributeError, match="no attribute 'Sweep'; it has RelusweepError, Run, Spec, Store"):
        _ = relusweep.Sweep


def test_import_loads_nothing_else():
    code = "import sys; before = set(sys.modules); import relusweep; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["relusweep"]
