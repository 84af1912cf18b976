"""Pack: grouping by shape, ids, sizes."""

import itertools

from relusweep.sweep.pack import Pack, make_packs, point_bytes, run_bytes
from relusweep.sweep.run import Run
from relusweep.sweep.shape import shape_key
from relusweep.sweep.spec import Measure


def runs(count, **axes):
    combos = itertools.cycle(itertools.product(*axes.values()))
    return [
        Run.model_validate({"problem": "sine", "lr": 0.1, "seed": seed} | dict(zip(axes, combo, strict=True)))
        for seed, combo in zip(range(count), combos, strict=False)
    ]


def test_packs_hold_every_run_once_and_one_shape_each():
    given = runs(100, width=[4, 8], lr=[0.1, 0.2], depth=[1, 2])
    packs = list(make_packs(given, lambda run: 7))
    assert sorted(run.id for pack in packs for run in pack.runs) == sorted(run.id for run in given)
    assert all(len({shape_key(run) for run in pack.runs}) == 1 for pack in packs)
    assert max(len(pack.runs) for pack in packs) == 7


def test_packs_are_made_as_runs_come():
    endless = (Run.model_validate({"problem": "sine", "lr": 0.1, "seed": seed}) for seed in itertools.count())
    assert [len(pack.runs) for pack in itertools.islice(make_packs(endless, lambda run: 5), 3)] == [5, 5, 5]


def test_step_size_and_data_seed_do_not_split_a_pack():
    given = runs(8, lr=[0.1, 0.2], data_seed=[0, 1], weight_decay=[0.0, 0.1])
    assert len(list(make_packs(given, lambda run: 100))) == 1


def test_pack_id_ignores_the_order_of_its_runs():
    given = runs(5)
    assert Pack(tuple(given)).id == Pack(tuple(reversed(given))).id
    assert Pack(tuple(given)).id != Pack(tuple(given[1:])).id


def test_bytes_grow_with_the_optimizer_and_the_precision():
    sizes = [run_bytes(run, Measure()) for run in runs(3, optimizer=["gd", "momentum", "adam"])]
    assert sizes == sorted(set(sizes))
    double, single = (run_bytes(run, Measure()) for run in runs(2, dtype=["float64", "float32"]))
    assert single < double


def test_bytes_grow_with_what_is_measured():
    run = runs(1, max_steps=[10**6])[0]
    ends, few, many = (run_bytes(run, Measure(every=every)) for every in ("end", "log:10", "log:900"))
    assert ends < few < many
    assert many - ends > 50 * (few - ends)
    assert run_bytes(run, Measure(save_weights=True)) > ends


def test_size_is_asked_once_a_pack():
    asked = []
    packs = list(make_packs(runs(10), lambda run: asked.append(run) or 4))
    assert [len(pack.runs) for pack in packs] == [4, 4, 2]
    assert len(asked) == 3


def test_measuring_one_run_is_counted_by_its_activations():
    small, large = (point_bytes(run) for run in runs(2, n=[200, 20_000], width=[1000]))
    assert large > 8 * 10 * 20_000 * 1000  # ten such tensors were met at once
    assert small < large / 50
