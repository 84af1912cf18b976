"""Training: packed equals alone, convergence checks, divergence, compaction, restoring."""

import pytest
import torch

from relusweep.sweep.kernels.training import plain
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.train import CHECK_STEPS, CHECKS_IN_A_ROW, Training, tile_size

CPU = torch.device("cpu")


def make(**parameters):
    return Run.model_validate({"problem": "sine", "n": 8, "width": 5, "lr": 0.05, "max_steps": 600} | parameters)


def by_id(training: Training) -> dict[str, torch.Tensor]:
    return {
        training.runs[p].id: theta
        for p, theta in zip(training.state["position"].tolist(), training.state["theta"], strict=True)
    }


@pytest.mark.slow
@pytest.mark.parametrize("rule", [{}, {"optimizer": "sgd", "batch_size": 3}, {"optimizer": "adam"}], ids=str)
def test_packed_run_equals_run_alone_in_float64(rule):
    runs = [make(seed=s, data_seed=s % 3, lr=0.02 * (1 + s % 4), **rule) for s in range(11)]
    together = Training(Pack(tuple(runs)), CPU)
    together.advance(300, lambda: None)
    for run in runs:
        alone = Training(Pack((run,)), CPU)
        alone.advance(300, lambda: None)
        torch.testing.assert_close(by_id(together)[run.id], alone.state["theta"][0], rtol=1e-9, atol=1e-11)


def test_order_of_runs_in_a_pack_does_not_matter():
    runs = [make(seed=s) for s in range(5)]
    states = []
    for order in (runs, runs[::-1]):
        training = Training(Pack(tuple(order)), CPU)
        training.advance(50, lambda: None)
        states.append(by_id(training))
    assert all(torch.equal(states[0][i], states[1][i]) for i in states[0])


def test_runs_that_share_data_share_one_input_tensor():
    shared = Training(Pack(tuple(make(seed=s) for s in range(4))), CPU)
    assert shared.inputs(slice(0, 4))[0].ndim == 2
    mixed = Training(Pack(tuple(make(seed=s, data_seed=s) for s in range(4))), CPU)
    assert mixed.inputs(slice(0, 4))[0].ndim == 3


def test_windows_of_any_length_give_the_same_training():
    runs = tuple(make(seed=s, optimizer="sgd", batch_size=3, warmup_steps=40) for s in range(3))
    whole, pieces = Training(Pack(runs), CPU), Training(Pack(runs), CPU)
    whole.advance(120, lambda: None)
    for stop in (1, 7, 50, 120):
        pieces.advance(stop, lambda: None)
    assert torch.equal(whole.state["theta"], pieces.state["theta"])


def test_interrupted_window_goes_on_at_the_next_tile():
    runs = tuple(make(seed=s) for s in range(6))
    whole, broken = Training(Pack(runs), CPU), Training(Pack(runs), CPU)
    whole.kernel = broken.kernel = Tiles2
    whole.advance(30, lambda: None)

    class Stop(Exception):
        pass

    def stop():
        raise Stop

    with pytest.raises(Stop):
        broken.advance(30, stop)
    assert (broken.step, broken.cursor) == (0, 2)
    fresh = Training(Pack(runs), CPU)
    fresh.kernel = Tiles2
    fresh.restore(broken.save())
    fresh.advance(30, lambda: None)
    assert torch.equal(fresh.state["theta"], whole.state["theta"])


class Tiles2:
    """The reference kernel in tiles of two runs."""

    advance = staticmethod(plain.advance)

    @staticmethod
    def tile_size(run, device):
        return 2


def test_checkpoint_of_other_runs_is_refused():
    one, other = Training(Pack((make(),)), CPU), Training(Pack((make(seed=1),)), CPU)
    with pytest.raises(ValueError, match="a checkpoint of other runs"):
        one.restore(other.save())


def test_divergence_is_seen_and_does_not_touch_neighbours():
    calm, wild = make(), make(lr=50.0, width=5)
    both, alone = Training(Pack((calm, wild)), CPU), Training(Pack((calm,)), CPU)
    for training in (both, alone):
        training.advance(CHECK_STEPS, lambda: None)
    _, diverged = both.check_convergence()
    ids = [both.runs[p].id for p in both.state["position"].tolist()]
    assert {i: bool(d) for i, d in zip(ids, diverged, strict=True)} == {calm.id: False, wild.id: True}
    torch.testing.assert_close(by_id(both)[calm.id], alone.state["theta"][0], rtol=1e-10, atol=1e-12)


def test_run_passes_a_check_only_if_its_loss_stayed_below_the_tolerance():
    training = Training(Pack((make(tolerance=0.3),)), CPU)
    training.state["peak"].fill_(0.2)
    training.state["theta"].zero_()
    small = float(training.losses(slice(0, 1)))
    passes, _ = training.check_convergence()
    assert int(passes) == int(small <= 0.3)
    training.state["peak"].fill_(0.31)  # it was above in between
    passes, _ = training.check_convergence()
    assert int(passes) == 0


def test_zero_tolerance_never_passes():
    training = Training(Pack((make(tolerance=0.0),)), CPU)
    training.state["theta"].zero_()
    training._train[1].zero_()
    passes, _ = training.check_convergence()
    assert int(passes) == 0
    assert CHECKS_IN_A_ROW > 1


def test_compaction_keeps_the_rows_that_go_on():
    runs = tuple(make(seed=s) for s in range(4))
    training = Training(Pack(runs), CPU)
    before = by_id(training)
    training.go_on(torch.tensor([True, False, True, False]), torch.zeros(4, dtype=torch.int64))
    assert len(training) == 2
    assert all(torch.equal(theta, before[i]) for i, theta in by_id(training).items())


def test_tiles_are_of_the_size_that_the_kernel_takes():
    run = make(n=10**4, width=60)
    training = Training(Pack((run,)), CPU)
    assert tile_size(run, CPU) == training.kernel.tile_size(run, CPU) == training.tile_size >= 1
    assert [rows.stop - rows.start for rows in Training(Pack(tuple(make(seed=s) for s in range(5))), CPU).tiles(2)] == [
        2, 2, 1,
    ]  # fmt: skip
