"""Planned: the ids of a spec's runs, kept beside it in a store, so that who looks at one need not expand it again."""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from relusweep.sweep.spec import Spec
from relusweep.sweep.store.atomic import replacing, store_errors
from relusweep.sweep.store.run_ids import KEY, RunIds
from relusweep.sweep.store.small_file import content_of
from relusweep.sweep.store.store import Store
from relusweep.sweep.template import FREE

_DIGEST_BYTES = 16
_MOST_BYTES = 2**28  # 16 for each of as many runs as a spec may have, and more


def planned(spec: Spec, store: Store) -> RunIds:
    """Return the ids of all runs that a spec names, those that [refine] asks for left out."""
    kept = kept_ids(spec, store)
    return RunIds.of(*(keys for block in spec.blocks for _, keys in block.families(FREE))) if kept is None else kept


def kept_ids(spec: Spec, store: Store) -> RunIds | None:
    """Return what was kept; None if it is of another spec, of another version's code, or damaged."""
    try:
        content = content_of(_file(store), _MOST_BYTES)
    except OSError:
        return None
    digest, keys = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if len(keys) % KEY.itemsize or digest != _digest(spec, keys):
        return None
    return RunIds.of(np.frombuffer(keys, KEY))


def keep(spec: Spec, store: Store, ids: RunIds) -> None:
    """Keep the ids of a spec's runs.

    Raises:
        StoreError: if the store cannot be written.
    """
    keys = ids.keys.tobytes()
    with store_errors(store.path), replacing(_file(store)) as temporary:
        temporary.write_bytes(_digest(spec, keys) + keys)


def _file(store: Store) -> Path:
    return store.path / "planned.ids"


def _digest(spec: Spec, keys: bytes) -> bytes:
    parts = [spec.text.encode(), spec.sources.digest, _sources(), hashlib.blake2b(keys).digest()]
    return hashlib.blake2b(
        b"".join(hashlib.blake2b(part).digest() for part in parts), digest_size=_DIGEST_BYTES
    ).digest()


@cache
def _sources() -> bytes:
    """Return the code on which ids depend, and more of it: other code, other ids, as far as anyone here knows."""
    return b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
