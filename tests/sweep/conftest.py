"""What tests of the sweep room share."""

import jaxtyping
import pytest


@pytest.fixture
def unchecked_shapes():
    """Train without shape checks: they cost several times the training, and other tests make them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
