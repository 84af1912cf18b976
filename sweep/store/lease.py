"""Lease: who trains which runs now, so that two launchers on one store share the work and double nothing.

A lease is a file in `claims/`, created atomically and touched every few seconds, which renews it. It has expired when
its process is gone (same host) or when it has not been touched for a while (another host); any process may then take
it over.

A process that takes over an expired lease takes a second lease first, on the takeover itself, in a file named after
the content of the expired one, and then looks again. So of several such processes one at a time may replace the lease,
none can touch what an earlier one has put there, and if one is killed meanwhile, its second lease expires like any
other.
"""

import hashlib
import json
import os
import platform
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from relusweep.sweep.store.atomic import store_errors
from relusweep.sweep.store.store import Store

RENEWAL_SECONDS = 10
EXPIRY_SECONDS = 120


@contextmanager
def leased(store: Store, pack_id: str, run_ids: Iterable[str]) -> Iterator[bool]:
    """Hold the lease of a pack; yield False if an active process, this one included, holds it already.

    Raises:
        StoreError: if the lease cannot be written.
    """
    path = store.path / "claims" / f"{pack_id}.json"
    lease = json.dumps(_owner() | {"runs": list(run_ids)}).encode()
    with store_errors(path):
        held = _create(path, lease)
    if not held:
        yield False
        return
    stop = threading.Event()
    renewal = threading.Thread(target=_renew, args=(path, stop), daemon=True)
    renewal.start()
    try:
        yield True
    finally:
        stop.set()
        renewal.join()
        if _content(path) == lease:  # else it had expired, as after a long standstill of this host, and was taken over
            path.unlink(missing_ok=True)


def leased_runs(store: Store, besides: str = "") -> set[str]:
    """Return the ids of the runs that active processes, this one included, are training, except those of `besides`."""
    found: set[str] = set()
    for path in (store.path / "claims").glob("[!.]*.json"):
        lease = _active(path) if path.stem != besides else None
        found.update(lease["runs"] if lease else ())
    return found


def active_packs(store: Store) -> dict[str, str]:
    """Return the ids of the packs that active processes are training now, each with the worker that does."""
    leases = {path.stem: _active(path) for path in (store.path / "claims").glob("[!.]*.json")}
    return {pack_id: worker_name(lease["host"], lease["pid"]) for pack_id, lease in leases.items() if lease}


def remove_expired(store: Store) -> None:
    """Delete the leases that have expired, also those of packs that will never be asked for again."""
    for path in (store.path / "claims").glob("[!.]*.json"):
        if _active(path) is None:
            with leased(store, path.stem, []):
                pass


def worker_name(host: str, pid: int) -> str:
    """Return the name under which a worker's progress is filed."""
    return f"{host}-{pid}"


def _create(path: Path, lease: bytes) -> bool:
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_bytes(lease)
    try:
        for _ in range(2):
            try:
                os.link(draft, path)  # atomic, and fails if the lease exists; works on NFS too
                return True
            except FileExistsError:
                expired = _content(path)
            if expired is not None:  # not given up meanwhile
                return _active(path) is None and _take_over(path, expired, lease, draft)
        return False
    finally:
        draft.unlink(missing_ok=True)


def _take_over(path: Path, expired: bytes, lease: bytes, draft: Path) -> bool:
    named_after = hashlib.blake2b(path.name.encode() + expired, digest_size=8).hexdigest()
    takeover = path.with_name(f".{named_after}.heir.tmp")  # as earlier versions name it, which may share the store
    if not _create(takeover, lease):
        return False
    try:
        if _content(path) != expired or _active(path) is not None:  # another took it over before
            return False
        os.replace(draft, path)
        return True
    finally:
        takeover.unlink(missing_ok=True)


def _renew(path: Path, stop: threading.Event) -> None:
    while not stop.wait(RENEWAL_SECONDS):
        try:
            os.utime(path)
        except OSError:
            return


def _owner() -> dict[str, Any]:
    return {"host": platform.node(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _active(path: Path) -> dict[str, Any] | None:
    """Read a lease; None if it is gone, broken or has expired."""
    try:
        lease = json.loads(path.read_bytes())
        return lease if {"host", "pid", "started", "runs"} <= set(lease) and _is_active(path, lease) else None
    except (OSError, ValueError, TypeError):
        return None


def _is_active(path: Path, lease: dict[str, Any]) -> bool:
    if lease["host"] == platform.node():
        try:
            process = psutil.Process(lease["pid"])
            same = abs(process.create_time() - lease["started"]) < 1
            return same and process.status() != psutil.STATUS_ZOMBIE  # killed, and not yet waited for by its parent
        except psutil.Error:
            return False
    try:
        return time.time() - path.stat().st_mtime < EXPIRY_SECONDS
    except OSError:
        return False
