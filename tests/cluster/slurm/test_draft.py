"""Draft: other launchers see nothing of it before it is published."""

from relusweep.cluster.slurm.draft import Draft
from relusweep.cluster.slurm.submission import open_submissions
from relusweep.sweep.pack import Pack
from relusweep.sweep.run import Run
from relusweep.sweep.store.store import Store


def test_draft_is_no_submission_yet(tmp_path):
    store = Store.create(tmp_path / "store")
    draft, pack = Draft(store), Pack((Run(problem="sine", lr=0.1),))
    with draft.submission.being_submitted():
        assert draft.submission.is_being_submitted
        draft.take([(pack, 2.0)])
        assert open_submissions(store) == []
    assert [(bundle.pack_id, bundle.runs, bundle.seconds) for bundle in draft.bundles] == [(pack.id, 1, 2.0)]
