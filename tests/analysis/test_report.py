import json
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from relusweep.analysis.report import ReportError, write
from relusweep.analysis.table import TableError
from relusweep.sweep.store.store import Store, StoreError

SPEC = """
name = "small"
study = "{study}"
[fixed]
problem = "digits"
[[block]]
grid = {{ lr = [0.1] }}
"""
ROOT = Path(__file__).parent.parent.parent


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_report_is_a_page_with_tables_and_figures_beside_it(store, sweep):
    page = write([store(sweep)])
    names = {path.name for path in page.parent.iterdir()}
    assert page.name == "index.html"
    for table in ("checks", "violations", "fits", "summary"):
        assert {f"{table}.csv", f"{table}.parquet"} <= names
    assert {"stability.svg", "stability.png", "report.json"} <= names
    assert pl.read_parquet(page.parent / "summary.parquet")["runs"].sum() == len(sweep)
    assert (page.parent / "stability.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_report_says_its_verdicts_on_the_page_and_to_programs(store, row, sweep):
    page = write([store([*sweep, row(0.3, 9, eos=1.2)])])
    assert "VIOLATED on 1 of the 33 runs" in page.read_text(encoding="utf-8")
    manifest = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    assert manifest["study"] == "stability"
    assert manifest["verdicts"][0]["level"] == "refuted"
    assert sorted(manifest["files"]) == sorted(path.name for path in page.parent.iterdir())


@pytest.mark.slow
def test_page_loads_nothing_from_a_network_or_another_file(store, sweep):
    page = write([store(sweep)]).read_text(encoding="utf-8")
    assert not re.findall(r"""\b(?:src|srcset|href|action)\s*=\s*(?:"(?!#)|'(?!#)|[^"'\s])""", page)
    assert not re.findall(r"url\((?!#)", page)
    for loader in ("@import", "<script", "<link", "<iframe", "<object", "<!DOCTYPE svg", "<base"):
        assert loader not in page


@pytest.mark.slow
def test_page_repeats_no_element_id_and_every_reference_has_its_target(store, sweep):
    page = write([store(sweep)]).read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)) - {("", "")}
    for reference in re.findall(r'(?:href="#|url\(#)([^")]+)', page):
        assert reference in ids


@pytest.mark.slow
def test_page_escapes_what_comes_from_a_store(tmp_path, row, sweep):
    made = Store.create(tmp_path / "<b>bold</b>")
    made.write("pack", {"runs": [*sweep, row(0.1, 9, device="<script>alert(1)</script>")]}, {})
    page = write([made.path]).read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "<b>bold" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.slow
def test_page_describes_every_picture(store, sweep):
    page = write([store(sweep)]).read_text(encoding="utf-8")
    assert page.count("<svg") == page.count('<svg role="img" aria-label="')
    assert '<html lang="en">' in page


@pytest.mark.slow
def test_page_names_broken_parts_and_failures(store, sweep):
    path = store(sweep)
    (path / "runs" / "pack-broken.parquet").write_bytes(b"half")
    Store.open(path).write_failure(
        "xyz",
        {"pack_id": "xyz", "run_ids": [], "error": "out of memory", "trace": "", "attempts": 3, "host": "a", "time": 0},
    )
    page = write([path]).read_text(encoding="utf-8")
    assert "1 failed pack" in page
    assert "1 broken part" in page
    assert "pack-broken.parquet" in page


@pytest.mark.slow
def test_report_twice_gives_the_same_bytes(store, sweep):
    path = store(sweep, trajectories=[{"run_id": sweep[0]["run_id"], "step": 1, "sharpness": 3.0}])
    first = contents(write([path]).parent)
    assert contents(write([path]).parent) == first


@pytest.mark.slow
def test_report_replaces_a_former_one_and_leaves_other_files(store, row, sweep, tmp_path):
    out = tmp_path / "out"
    write([store(sweep, "full")], out=out)
    (out / "mine.txt").write_text("kept")
    write([store([row(status="diverged")], "none")], out=out)
    names = {path.name for path in out.iterdir()}
    assert "norms.svg" not in names  # nothing converged
    assert {"mine.txt", "stability.svg"} <= names
    assert not [name for name in names if name.startswith(".")]


@pytest.mark.slow
def test_report_does_not_overwrite_a_page_of_someone_else(store, sweep, tmp_path):
    (tmp_path / "index.html").write_text("my home page")
    with pytest.raises(ReportError, match=r"index\.html that is no report of relusweep; expected .* Choose another"):
        write([store(sweep)], out=tmp_path)
    assert (tmp_path / "index.html").read_text() == "my home page"


@pytest.mark.slow
def test_report_deletes_nothing_outside_its_folder(store, sweep, tmp_path):
    out = tmp_path / "out"
    write([store(sweep)], out=out)
    precious = tmp_path / "precious.txt"
    precious.write_text("kept")
    (out / "report.json").write_text(json.dumps({"files": ["../precious.txt", str(precious), "..", 3]}))
    write([tmp_path / "store"], out=out)
    assert precious.exists()


@pytest.mark.slow
def test_report_of_several_stores_is_that_of_their_union(store, sweep, tmp_path):
    split = write([store(sweep[:20], "a"), store(sweep[10:], "b")], out=tmp_path / "ab").parent
    whole = write([store(sweep, "c")], out=tmp_path / "c-report").parent
    first, second = contents(split), contents(whole)
    first.pop("index.html"), second.pop("index.html")  # names the stores
    assert first == second


@pytest.mark.slow
def test_report_runs_the_study_of_the_spec(store, sweep):
    page = write([store(sweep, spec=SPEC.format(study="stability"))])
    assert "Study <code>stability</code>" in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_unknown_study_is_one_line_with_the_nearest_name(store, sweep):
    path = store(sweep, spec=SPEC.format(study="stabilty"))
    message = (
        r"^study = 'stabilty': unknown study; "
        r"expected one of stability, compare, depth_separation\. Did you mean 'stability'\?$"
    )
    with pytest.raises(ReportError, match=message):
        write([path])
    with pytest.raises(ReportError, match="expected one of"):
        write([path], study="zzz")
    assert write([path], study="stability").exists()


@pytest.mark.slow
def test_unreadable_spec_is_a_note_and_no_obstacle(store, sweep):
    page = write([store(sweep, spec="name = ")]).read_text(encoding="utf-8")
    assert "not readable (Invalid value" in page


def test_report_of_an_empty_store_is_an_error(tmp_path):
    with pytest.raises(TableError, match="nothing to report"):
        write([Store.create(tmp_path / "empty").path])


def test_report_of_no_store_is_an_error():
    with pytest.raises(ReportError, match="got no store; expected at least one"):
        write([])


@pytest.mark.slow
def test_report_that_cannot_be_written_is_one_line(store, sweep, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/report: a file stands where a directory is needed"):
        write([store(sweep)], out=tmp_path / "file" / "report")


@pytest.mark.slow
def test_analysis_needs_no_torch_ray_cluster_or_network(store, sweep):
    program = """
import socket, sys
for name in ("torch", "ray", "relusweep.cluster", "jaxtyping", "submitit"):
    sys.modules[name] = None
def refuse(*_):
    raise OSError("network")
socket.socket.connect = refuse
import relusweep.analysis
assert not [m for m in sys.modules if m.startswith("relusweep.analysis.") or m in ("polars", "numpy")]
from relusweep.analysis.report import write
print(write([sys.argv[1]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(store(sweep))], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).name == "index.html"


COMPARED = """
name = "small"
study = "stability"
[compare]
parameter = "width"
[fixed]
problem = "digits"
[[block]]
grid = {{ lr = [0.1], seed = [0, 1, 2, 3], width = {widths} }}
"""


@pytest.mark.slow
def test_comparison_that_a_spec_asks_for_is_in_its_studys_report(store, row):
    rows = [row(0.1, s, width=w, share=0.5 + w / 1000) for s in range(4) for w in (32, 64)]
    page = write([store(rows, spec=COMPARED.format(widths=[32, 64]))])
    manifest = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    assert manifest["study"] == "stability"
    questions = [verdict["question"] for verdict in manifest["verdicts"]]
    assert questions[0] == "Does λ_max ≤ 2/η hold?"
    assert "Does width 32 change the sharpness, against width 64?" in questions
    assert {"paired.svg", "differences.csv", "pairing.parquet", "stability.svg"} <= set(manifest["files"])
    text = page.read_text(encoding="utf-8")
    assert text.count("<dt>λ_max</dt>") == 1
    assert "Pair by pair" in text


@pytest.mark.slow
def test_comparison_may_be_asked_for_by_the_command_alone_and_pair_several_stores(store, row):
    one, other = (store([row(0.1, s, width=w) for s in range(4)], f"{w}") for w in (32, 64))
    page = write([one, other], "compare", compare="width")
    pairing = pl.read_parquet(page.parent / "pairing.parquet").row(0, named=True)
    assert (pairing["arm"], pairing["pairs"]) == ("width 32", 4)


@pytest.mark.slow
def test_comparison_that_cannot_be_made_is_a_note_or_where_it_was_asked_for_an_error(store, row):
    place = store([row(0.1, s) for s in range(4)], spec=COMPARED.format(widths=[64]))
    page = write([place]).read_text(encoding="utf-8")
    assert "compare: width = 64 in all 4 runs; expected two values or more" in page
    with pytest.raises(TableError, match="compare: width = 64 in all 4 runs"):
        write([place], compare="width")
    with pytest.raises(ReportError, match=r"^--compare widht: unknown parameter; .* Did you mean 'width'\?"):
        write([place], compare="widht")


@pytest.mark.slow
def test_texts_of_a_store_are_no_formulas_to_a_spreadsheet(store, row):
    rows = [
        row(0.1, s, problem="file", d=2, n=4, n_test=0, file=f, content=c * 32)
        for s in range(2)
        for f, c in (("=1+1.csv", "a"), ("b.csv", "b"))
    ]
    page = write([store(rows)])
    groups = (page.parent / "groups.csv").read_text(encoding="utf-8")
    assert "'=1+1.csv" in groups
    assert ",=1+1" not in groups
    assert "=1+1.csv" in pl.read_parquet(page.parent / "groups.parquet")["file"].to_list()
