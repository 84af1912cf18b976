"""The stability study, asked over planted rows."""

import pytest

from relusweep.analysis.studies.stability.study import STUDY


@pytest.fixture
def studied(asked):
    return asked(STUDY)
