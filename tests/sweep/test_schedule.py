"""Schedule: what rates are multiplied by, step by step, is what is documented; at one step as at many."""

import pytest
import torch

from relusweep.sweep import schedule
from relusweep.sweep.run import Run
from tests import oracles

RUNS = tuple(
    Run.model_validate({"problem": "sine", "lr": 0.1, "max_steps": 40, "warmup_steps": warmup} | kind)
    for warmup in (0, 7)
    for kind in (
        {},
        {"schedule": "linear"},
        {"schedule": "cosine"},
        {"schedule": "step", "schedule_every": 6, "schedule_factor": 0.3},
    )
)
CPU = torch.device("cpu")


def test_factors_are_those_of_the_documented_formulas_at_one_step_as_at_many():
    numbers = schedule.numbers(RUNS, torch.float64, CPU)
    warmup = torch.tensor([[float(run.warmup_steps)] for run in RUNS]).double()
    many = schedule.factors(warmup, numbers, torch.arange(40).double())
    expected = [[oracles.rate_factor(run, step) for step in range(40)] for run in RUNS]
    torch.testing.assert_close(many, torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=1e-14)
    for step in range(40):
        torch.testing.assert_close(schedule.factors(warmup, numbers, step), many[:, step, None], rtol=1e-15, atol=0)


def test_rates_that_stay_have_no_factors():
    assert schedule.numbers(RUNS[::4], torch.float64, CPU) is None
    assert schedule.factors(None, None, 3) is None


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_rates_end_near_zero_and_never_below(kind):
    run = Run.model_validate({"problem": "sine", "lr": 0.1, "max_steps": 9, "warmup_steps": 9, "schedule": kind})
    numbers = schedule.numbers([run], torch.float64, CPU)
    assert schedule.factors(None, numbers, 8).item() == 1  # all steps are warm-up
    assert schedule.factors(None, numbers, 30).item() == pytest.approx(0, abs=1e-15)
