"""Spec: what a file stands for, and the message about a wrong one."""

from collections import defaultdict

import numpy as np
import pytest

from relusweep.sweep.run import Run
from relusweep.sweep.spec import SHIPPED, Measure, Spec
from relusweep.sweep.spec_error import SpecError

HEAD = 'name = "x"\n[fixed]\nproblem = "sine"\nlr = 0.1\n[[block]]\n'


def runs(text: str) -> list[Run]:
    return list(Spec.parse(text, "x.toml").expand())


def test_block_is_the_product_of_its_parts():
    found = runs(HEAD + "grid = { width = [2, 3], seed = { range = [0, 4] } }\nzip = { n = [8, 16], d = [1, 2] }")
    assert len(found) == len({run.id for run in found}) == 2 * 4 * 2
    assert {(run.n, run.d) for run in found} == {(8, 1), (16, 2)}


def test_blocks_are_a_union_without_doubles():
    text = HEAD + "grid = { seed = [0, 1, 2] }\n[[block]]\ngrid = { seed = [2, 3] }"
    assert [run.seed for run in runs(text)] == [0, 1, 2, 3]


def test_repeated_values_of_an_axis_count_once():
    assert len(runs(HEAD + "grid = { seed = [1, 1, 2], n = [8, 8] }")) == 2


def test_axes_have_the_stated_ends_and_short_numbers():
    values = [run.lr_ratio for run in runs(HEAD + "grid = { lr_ratio = { log = [0.01, 1.0, 3] } }")]
    assert values == [0.01, 0.1, 1.0]
    values = [run.lr_ratio for run in runs(HEAD + "grid = { lr_ratio = { linear = [0.1, 0.3, 3] } }")]
    assert values == [0.1, 0.2, 0.3]
    assert [run.seed for run in runs(HEAD + "grid = { seed = { range = [4, 0, -2] } }")] == [4, 2]


def test_block_parameters_override_shared_ones():
    assert runs(HEAD + "fixed = { lr = 0.5 }")[0].lr == 0.5


def test_random_draws_do_not_change_when_there_are_more_of_them_or_another_key():
    few = runs(HEAD + "random = { count = 3, seed = 7, lr_ratio = { loguniform = [0.1, 10.0] } }")
    more = runs(
        HEAD
        + "random = { count = 9, seed = 7, lr_ratio = { loguniform = [0.1, 10.0] }, width = { integers = [2, 9] } }"
    )
    assert [run.lr_ratio for run in few] == [run.lr_ratio for run in more][:3]
    assert len({run.lr_ratio for run in more}) == 9
    assert all(0.1 <= run.lr_ratio <= 10 and 2 <= run.width < 9 for run in more)


def test_random_laws_have_their_distribution():
    text = (
        HEAD
        + "random = { count = 4000, lr_ratio = { uniform = [1.0, 3.0] }, activation = { choice = ['relu', 'leaky_relu'] } }"
    )
    found = runs(text)
    ratios = np.array([run.lr_ratio for run in found])
    assert abs(ratios.mean() - 2) < 4 * np.sqrt(4 / 12 / 4000)
    share = np.mean([run.activation == "relu" for run in found])
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(4000)


def test_expansion_of_one_block_keeps_no_memory_of_its_runs():
    spec = Spec.parse(HEAD + "grid = { seed = { range = [0, 1000000] } }", "x.toml")
    first = next(spec.expand())  # at once: nothing is listed beforehand
    assert first.seed == 0
    assert sum(len(block) for block in spec.blocks) == 1_000_000


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_specs_are_valid_and_named_like_their_files(path):
    spec = Spec.read(path.stem)
    assert spec.name == path.stem
    assert next(spec.expand())


def test_demo_has_at_least_240_runs():
    assert sum(1 for _ in Spec.read("demo").expand()) >= 240


@pytest.mark.slow
def test_full_depth_spec_covers_dimensions_sizes_widths_seeds_and_controls():
    spec = Spec.read("depth_separation")
    found = list(spec.expand())
    assert len(found) >= 30_000
    assert len({run.id for run in found}) == len(found)
    plain = [run for run in found if run.problem == "pyramid" and run.init == "pytorch" and run.init_scale == 1]
    dimensions = set(range(2, 9))
    for optimizer in ("gd", "sgd"):
        mine = [run for run in plain if run.optimizer == optimizer]
        assert {run.d for run in mine if run.depth == 1} == {run.d for run in mine if run.depth == 2} == dimensions
        for n in (64, 128, 256):
            assert {run.d for run in mine if (run.n, run.depth, run.width) == (n, 1, 8 * n)} == dimensions
    deep = {(run.d, run.width, run.width2) for run in plain if run.depth == 2}
    assert {(d, share * d, 2 * share) for d in dimensions for share in (2, 4, 8)} <= deep
    seeds = defaultdict(set)
    for run in plain:
        seeds[run.d, run.n, run.depth, run.width, run.width2, run.optimizer, run.lr, run.max_steps].add(run.seed)
    assert min(map(len, seeds.values())) >= 8


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("grid = { widht = [3] }", r"x.toml: block\[0\]: unknown parameter `widht`; did you mean `width`\?"),
        ("gird = { width = [3] }", r"x.toml: block\[0\].gird: unknown key; did you mean `grid`\?"),
        ("grid = { width = [3, -1] }", r"block\[0\].grid.width\[1\] = -1; expected greater than or equal to 1"),
        ("grid = { width = [] }", r"block\[0\].grid.width: empty axis, got \[\]; expected at least one value"),
        ("grid = { width = 3 }", r"block\[0\].grid.width = 3; expected a list, \{ log = "),
        ("grid = { lr_ratio = { log = [0.0, 1.0, 3] } }", "expected finite ends, above 0"),
        ("grid = { lr_ratio = { linear = [0.0, 1.0] } }", r"expected \[lo, hi, num\], num a whole number"),
        ("grid = { lr_ratio = { linear = [0.0, 1.0, 0] } }", "empty axis"),
        ("grid = { lr_ratio = { linear = ['a', 1.0, 3] } }", "expected numbers"),
        ("grid = { seed = { range = [0] } }", r"expected \[start, stop\] or"),
        ("grid = { seed = { range = [0, 4, 0] } }", r"expected \[start, stop\] or"),
        ("grid = { seed = { range = [4, 0] } }", "empty axis"),
        ("grid = { seed = { range = [0, 100000000] } }", "100,000,000 runs; expected at most 10,000,000"),
        ("grid = { seed = { range = [0, 10000] }, data_seed = { range = [0, 10000] } }", "100,000,000 runs; expected at most 10,000,000. Thin out"),
        ("zip = { width = [1, 2], n = [3] }", r"zip: lists of different lengths, got \{'width': 2, 'n': 1\}"),
        ("fixed = { width = 2 }\ngrid = { width = [3] }", "width is given in both fixed and grid"),
        ("fixed = { optimizer = 'sdg' }", "= 'sdg'; expected 'gd', 'sgd', .* Did you mean 'sgd'"),
        ("fixed = { width = '3' }", r"block\[0\].fixed.width = '3'; expected a valid integer"),
        ("fixed = { bias = 1 }", "fixed.bias = 1; expected true, false, or 'hidden' for biases on hidden units alone"),
        ("fixed = { radius = 1.0, problem = 'digits' }", r"x.toml: block\[0\]: radius = 1.0; problem digits ignores it"),
        ("fixed = { problem = 'sin' }", "problem = 'sin' is unknown; .* Did you mean 'sine'"),
        ("random = { count = 0, seed = 1 }", "random.count = 0; expected a whole number from 1"),
        ("random = { count = 3 }", "nothing to draw"),
        ("random = { count = 3, width = { normal = [0, 1] } }", "expected { uniform = "),
        ("random = { count = 3, lr_ratio = { uniform = [1.0, 1.0] } }", "lo below hi"),
        ("random = { count = 3, wdith = { integers = [1, 4] } }", "unknown parameter `wdith`; did you mean `width`"),
        ("fixed = 3", r"block\[0\].fixed = 3; expected a table"),
        ("[measure]\nevery = 'log:0'", "measure.every = 'log:0'; expected 'end', 'log:N' or 'tail:N' with N from 1 to 999. Write 'log:20'"),
        ("[compare]\nparameter = 'widht'", "compare.parameter = 'widht'; expected a parameter: did you mean `width`?"),
        ("[compare]\nparamter = 'width'", "compare.paramter: unknown key; did you mean `parameter`"),
        ("[measure]\nevry = 'end'", "measure.evry: unknown key; did you mean `every`"),
        ("fixed = {", "x.toml: not valid TOML: "),
    ],
)  # fmt: skip
def test_wrong_spec_is_refused_with_place_and_cure(body, message):
    with pytest.raises(SpecError, match=message) as caught:
        runs(HEAD + body)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.toml: name: missing"),
        ('name = "x"', "x.toml: block: missing"),
        (
            'name = "a b"\n[[block]]',
            "name = 'a b'; expected letters, digits, '_', '-' and '.', a letter or digit first",
        ),
        ('name = "x"\nstdy = "s"\n[[block]]', "stdy: unknown key; did you mean `study`"),
        ('name = "x"\nblock = []', "block = .*; expected"),
        ('name = "x"\n[fixed]\nwdth = 3\n[[block]]', "fixed.wdth: unknown parameter; did you mean `width`"),
        ('name = "x"\n[[block]]', "problem is missing; expected one of digits, "),
        (
            'name = "x"\n[[block]]\nfixed = { problem = "sine" }',
            r"block\[0\]: lr: missing; expected it here or in \[fixed\]",
        ),
    ],
)
def test_wrong_frame_is_refused(text, message):
    with pytest.raises(SpecError, match=message) as caught:
        runs(text)
    assert "\n" not in str(caught.value)


def test_missing_file_names_the_nearest_shipped_spec(tmp_path):
    with pytest.raises(SpecError, match="demoo: no spec .* did you mean 'demo'"):
        Spec.read("demoo")
    with pytest.raises(SpecError, match="no spec .Is a directory"):
        Spec.read(tmp_path)
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not a text file; expected a spec in TOML"):
        Spec.read(tmp_path / "bad.toml")


def test_moments_are_log_spaced_and_end_at_the_last_step():
    moments = Measure(every="log:20").moments(10_000)
    assert moments[0] == 1
    assert moments[-1] == 10_000
    assert len(moments) <= 20
    assert list(moments) == sorted(set(moments))
    assert Measure().moments(10_000) == ()


def test_moments_of_the_tail_are_the_first_step_and_an_even_share_of_the_last_tenth():
    assert Measure(every="tail:4").moments(10_000) == (1, 9250, 9500, 9750, 10_000)
    assert Measure(every="tail:4").moments(10) == (1, 9, 10)
    assert Measure(every="tail:1").moments(1) == (1,)


def test_rows_of_a_zip_may_repeat_a_value():
    body = "zip = { d = [2, 2, 3, 2], width = [4, 8, 4, 4] }\ngrid = { seed = [0, 0, 1] }"
    spec = Spec.parse(HEAD + body, "x.toml")
    rows = [(run.d, run.width, run.seed) for run in spec.expand()]
    assert sorted(rows) == [(d, w, seed) for d, w in ((2, 4), (2, 8), (3, 4)) for seed in (0, 1)]


def test_mark_that_editors_put_before_the_text_is_no_part_of_it(tmp_path):
    text = "name = 'x'\n[[block]]\nfixed = { problem = 'sine', lr = 0.1 }"
    path = tmp_path / "x.toml"
    path.write_text(text, encoding="utf-8-sig")
    assert Spec.read(path).text == text
