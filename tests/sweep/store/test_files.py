"""Files: the small ones of a store."""

import pytest


def test_failures_and_progress_are_read_back(store):
    store.write_failure("p", {"pack_id": "p", "error": "boom"})
    store.write_progress("w", {"worker": "w", "step": 3})
    (store.path / "progress" / "half.json").write_text("{")
    assert [failure["error"] for failure in store.failures()] == ["boom"]
    assert [progress["step"] for progress in store.progress()] == [3]
    store.clear_failure("p")
    store.clear_progress("w")
    assert store.failures() == store.progress() == []


@pytest.mark.parametrize(
    ("text", "name", "study"),
    [
        ("name = 'a'\nstudy = 'b'", "a", "b"),
        ("name = 'a'", "a", None),
        ("name = 3", None, None),
        ("half of a", None, None),
        (None, None, None),
    ],
)
def test_name_and_study_are_those_of_the_spec_if_it_can_be_read(store, text, name, study):
    if text is not None:
        store.write_spec(text)
        assert store.spec_path.read_text() == text
    assert (store.sweep_name(), store.study()) == (name, study)


def test_failures_can_be_asked_for_by_the_runs_that_are_missing(store):
    for name in ("a", "b"):
        store.write_failure(name, {"pack_id": name, "run_ids": [name]})
    assert [failure["pack_id"] for failure in store.failures(missing={"b"})] == ["b"]
