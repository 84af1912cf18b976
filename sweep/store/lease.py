"""Claim: who trains which runs now, so that two launchers on one store share the work and double nothing.

A claim is a file created atomically and touched every few seconds. It has lapsed when its process is gone (same host)
or when it has not been touched for a while (another host); a lapsed claim may be taken over by anybody.

Who takes over a lapsed claim claims to be its heir first, in a file named after its content, then looks again. So of
several takers one at a time may replace it, none can touch what an earlier one has put there, and if one is killed
meanwhile, its claim to be heir lapses like any other.
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

from relusweep.sweep.store.atomic import said
from relusweep.sweep.store.store import Store

BEAT_SECONDS = 10
LAPSE_SECONDS = 120


@contextmanager
def claimed(store: Store, pack_id: str, run_ids: Iterable[str]) -> Iterator[bool]:
    """Hold the claim on a pack; yields False if a living process holds it already."""
    path = store.path / "claims" / f"{pack_id}.json"
    claim = json.dumps(_owner() | {"runs": list(run_ids)}).encode()
    with said(path):
        won = _create(path, claim)
    if not won:
        yield False
        return
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(path, stop), daemon=True)
    heart.start()
    try:
        yield True
    finally:
        stop.set()
        heart.join()
        if _content(path) == claim:  # else it had lapsed, as after a long standstill of this host, and has an heir
            path.unlink(missing_ok=True)


def claimed_runs(store: Store, besides: str = "") -> set[str]:
    """Ids of the runs that living processes, this one included, are training now, but for those of pack `besides`."""
    found: set[str] = set()
    for path in (store.path / "claims").glob("[!.]*.json"):
        claim = _living(path) if path.stem != besides else None
        found.update(claim["runs"] if claim else ())
    return found


def living_packs(store: Store) -> dict[str, str]:
    """Ids of the packs that living processes are training now, each with the worker that does."""
    claims = {path.stem: _living(path) for path in (store.path / "claims").glob("[!.]*.json")}
    return {pack_id: worker_name(claim["host"], claim["pid"]) for pack_id, claim in claims.items() if claim}


def bury(store: Store) -> None:
    """Delete the claims that have lapsed, those of packs that nobody will ask for again among them."""
    for path in (store.path / "claims").glob("[!.]*.json"):
        if _living(path) is None:
            with claimed(store, path.stem, []):
                pass


def worker_name(host: str, pid: int) -> str:
    """What a worker's progress is filed under."""
    return f"{host}-{pid}"


def _create(path: Path, claim: bytes) -> bool:
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_bytes(claim)
    try:
        for _ in range(2):
            try:
                os.link(draft, path)  # atomic, and fails if the claim exists; works on NFS too
                return True
            except FileExistsError:
                lapsed = _content(path)
            if lapsed is not None:  # not given up meanwhile
                return _living(path) is None and _inherit(path, lapsed, claim, draft)
        return False
    finally:
        draft.unlink(missing_ok=True)


def _inherit(path: Path, lapsed: bytes, claim: bytes, draft: Path) -> bool:
    named_after = hashlib.blake2b(path.name.encode() + lapsed, digest_size=8).hexdigest()
    heir = path.with_name(f".{named_after}.heir.tmp")
    if not _create(heir, claim):
        return False
    try:
        if _content(path) != lapsed or _living(path) is not None:  # another had been heir before
            return False
        os.replace(draft, path)
        return True
    finally:
        heir.unlink(missing_ok=True)


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT_SECONDS):
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


def _living(path: Path) -> dict[str, Any] | None:
    """Read a claim; None if it is gone, broken or has lapsed."""
    try:
        claim = json.loads(path.read_bytes())
        return claim if {"host", "pid", "started", "runs"} <= set(claim) and _alive(path, claim) else None
    except (OSError, ValueError, TypeError):
        return None


def _alive(path: Path, claim: dict[str, Any]) -> bool:
    if claim["host"] == platform.node():
        try:
            process = psutil.Process(claim["pid"])
            same = abs(process.create_time() - claim["started"]) < 1
            return same and process.status() != psutil.STATUS_ZOMBIE  # killed, and not yet buried by its parent
        except psutil.Error:
            return False
    try:
        return time.time() - path.stat().st_mtime < LAPSE_SECONDS
    except OSError:
        return False
