"""Claim: who trains which runs now, so that two launchers on one store share the work and double nothing.

A claim is a file created atomically and touched every few seconds. It has lapsed when its process is gone (same host)
or when it has not been touched for a while (another host); a lapsed claim may be taken over by anybody.
"""

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

from sweep.durable import said
from sweep.store import Store

BEAT_SECONDS = 10
LAPSE_SECONDS = 120


@contextmanager
def claimed(store: Store, pack_id: str, run_ids: Iterable[str]) -> Iterator[bool]:
    """Hold the claim on a pack; yields False if a living process holds it already."""
    path = store.path / "claims" / f"{pack_id}.json"
    with said(path):
        won = _create(path, run_ids)
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
        path.unlink(missing_ok=True)


def claimed_runs(store: Store, besides: str = "") -> set[str]:
    """Ids of the runs that living processes, this one included, are training now, but for those of pack `besides`."""
    found: set[str] = set()
    for path in (store.path / "claims").glob("[!.]*.json"):
        claim = _read(path) if path.stem != besides else None
        if claim is not None and _alive(path, claim):
            found.update(claim["runs"])
    return found


def living_packs(store: Store) -> dict[str, str]:
    """Ids of the packs that living processes are training now, each with the worker that does."""
    claims = {path: _read(path) for path in (store.path / "claims").glob("[!.]*.json")}
    living = {path.stem: claim for path, claim in claims.items() if claim is not None and _alive(path, claim)}
    return {pack_id: worker_name(claim["host"], claim["pid"]) for pack_id, claim in living.items()}


def worker_name(host: str, pid: int) -> str:
    """What a worker's progress is filed under."""
    return f"{host}-{pid}"


def _create(path: Path, run_ids: Iterable[str]) -> bool:
    claim = _owner() | {"runs": list(run_ids)}
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_text(json.dumps(claim), encoding="utf-8")
    try:
        for _ in range(2):
            try:
                os.link(draft, path)  # atomic, and fails if the claim exists; works on NFS too
                return True
            except FileExistsError:
                if not _remove_if_lapsed(path):
                    return False
        return False
    finally:
        draft.unlink(missing_ok=True)


def _remove_if_lapsed(path: Path) -> bool:
    claim = _read(path)
    if claim is not None and _alive(path, claim):
        return False
    grave = path.with_name(f".{path.name}.{os.getpid()}.lapsed.tmp")
    try:
        os.rename(path, grave)  # of several takers, one wins
    except FileNotFoundError:
        return True
    taken = _read(grave)
    if taken is not None and taken != claim and _alive(grave, taken):  # another taker had already renewed it: give back
        os.replace(grave, path)
        return False
    grave.unlink(missing_ok=True)
    return True


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT_SECONDS):
        try:
            os.utime(path)
        except OSError:
            return


def _owner() -> dict[str, Any]:
    return {"host": platform.node(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        claim = json.loads(path.read_text(encoding="utf-8"))
        return claim if {"host", "pid", "started", "runs"} <= set(claim) else None
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
