"""Lease: who trains which runs now, so that two launchers on one store share the work and double nothing.

A lease is a file in `claims/`, created atomically and touched every few seconds, which renews it. It has expired when
its process is gone or, where that cannot be seen (another host, another container), when it has not been touched for a
while by the file system's clock; any process may then take it over.

**Fence.** A process may stand still for longer than its lease lasts, and then go on to record what another has trained
meanwhile. So what is to be recorded is written to a folder of the lease first, and moved from there to its table. Who
takes a lease over deletes that folder before anything else: afterwards its former owner has nothing left to move, and
what it had moved before is seen.

**Takeover.** A process that takes over an expired lease takes a second lease first, on the takeover itself, in a file
named after the content of the expired one, and then looks again. So of several such processes one at a time may replace
the lease, none can touch what an earlier one has put there, and if one is killed meanwhile, its second lease expires
like any other.
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relusweep.sweep.store import clock, process
from relusweep.sweep.store.atomic import store_errors
from relusweep.sweep.store.files import listed
from relusweep.sweep.store.small_file import content_of
from relusweep.sweep.store.store import CLOCK_SECONDS, Store

RENEWAL_SECONDS = 10.0
EXPIRY_SECONDS = 120.0
_DRAFTS_SECONDS = 3600.0  # an older folder of drafts without its lease was left behind
_WAITS = (0.1, 0.2, 0.4)  # seconds, after a read that the file system refused
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}
_FIELDS = {"host": str, "pid": int, "started": (int, float), "runs": list}


@dataclass(frozen=True)
class Lease:
    """One that this process holds, until it turns out to be another's."""

    path: Path
    content: bytes
    drafts: Path  # the folder from which its holder records
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def is_lost(self) -> bool:
        """Whether it had expired and was taken over, as after a long standstill; then nothing can be recorded."""
        return self.over.is_set() or not self.drafts.is_dir() or _content(self.path) != self.content

    def keep_renewing(self) -> None:
        """Touch it every few seconds, until it is given up or turns out to be another's."""
        while not self.over.wait(RENEWAL_SECONDS):
            try:
                if content_of(self.path) != self.content:
                    self.over.set()
                else:
                    os.utime(self.path)
            except FileNotFoundError:
                self.over.set()
            except OSError:
                continue  # it may pass


@contextmanager
def leased(store: Store, pack_id: str, run_ids: Iterable[str]) -> Iterator[Lease | None]:
    """Hold the lease of a pack; yield None if an active process, this one included, holds it already.

    Raises:
        StoreError: if the lease cannot be written.
    """
    path, token, runs = store.path / "claims" / f"{pack_id}.json", secrets.token_hex(4), list(run_ids)
    content = json.dumps(process.identity() | {"token": token, "runs": runs}).encode()
    lease = Lease(path, content, _drafts(path, token))
    if runs:
        with store_errors(path):
            lease.drafts.mkdir(mode=0o700)  # never again after this: without it, nothing is recorded
    renewal = threading.Thread(target=lease.keep_renewing, daemon=True)
    try:
        with store_errors(path):
            held = _create(path, content)
        if not held:
            yield None
            return
        renewal.start()
        yield lease
    finally:
        lease.over.set()
        if renewal.ident:
            renewal.join()
        with store_errors(path):
            if _content(path) == content:
                path.unlink(missing_ok=True)
            _delete(lease.drafts)


def leased_runs(store: Store) -> set[str]:
    """Return the ids of the runs that active processes, this one included, are training."""
    return {run_id for path in _leases(store) if (lease := _active(path)) for run_id in lease["runs"]}


def is_shared(store: Store, pack_id: str, run_ids: set[str]) -> bool:
    """Return whether an active process trains some of these runs in another pack; fences those that have expired."""
    for path in _leases(store):
        lease = _read(path) if path.stem != pack_id else None
        if lease is None or run_ids.isdisjoint(lease["runs"]):
            continue
        if _is_active(path, lease):
            return True
        with leased(store, path.stem, ()) as taken:
            if taken is None and path.exists():  # another process takes it over just now
                return True
    return False


def active_packs(store: Store) -> dict[str, str]:
    """Return the ids of the packs that active processes are training now, each with the worker that does."""
    leases = {path.stem: _active(path) for path in _leases(store)}
    return {pack_id: process.name(lease) for pack_id, lease in leases.items() if lease}


def remove_expired(store: Store) -> None:
    """Delete the leases that have expired, also those of packs that will never be asked for again."""
    for path in _leases(store):
        if not _is_held(path):
            with leased(store, path.stem, ()):
                pass
    leases = {path.stem: _read(path) or {} for path in _leases(store)}
    for drafts in (store.path / "claims").glob(".*.drafts"):
        pack_id, token = drafts.name.removesuffix(".drafts").removeprefix(".").rsplit(".", 1)
        if leases.get(pack_id, {}).get("token") != token and not _is_younger(drafts, _DRAFTS_SECONDS):
            with store_errors(drafts):
                _delete(drafts)


def worker_name() -> str:
    """Return the name under which this process files its progress."""
    return process.name(process.identity())


def _leases(store: Store) -> list[Path]:
    return listed(store.path / "claims", ".json")


def _drafts(path: Path, token: str) -> Path:
    return path.with_name(f".{path.stem}.{token}.drafts")


def _create(path: Path, content: bytes) -> bool:
    """Put a lease where none is, or in place of one that has expired."""
    for _ in range(2):
        if _publish(path, content):
            return True
        expired = _content(path)
        if expired is not None:  # not given up meanwhile
            return not _is_held(path) and _take_over(path, expired, content)
    return False


def _publish(path: Path, content: bytes) -> bool:
    """Create a file with its content, in one step where there are hard links; return False if it exists."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        draft.write_bytes(content)
        os.link(draft, path)  # fails if the lease exists, also on NFS
        return True
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    finally:
        draft.unlink(missing_ok=True)
    try:
        with open(path, "xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return _content(path) == content  # else we stood still between the two, and it was taken over


def _take_over(path: Path, expired: bytes, content: bytes) -> bool:
    named_after = hashlib.blake2b(path.name.encode() + expired, digest_size=8).hexdigest()
    takeover = path.with_name(f".{named_after}.heir.tmp")  # as earlier versions name it, which may share the store
    if not _create(takeover, json.dumps(process.identity() | {"runs": []}).encode()):
        return False
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        if _content(path) != expired or _is_held(path):  # another took it over before
            return False
        mine = (_parsed(content) or {}).get("token", "")
        for drafts in path.parent.glob(f".{path.stem}.*.drafts"):  # whatever a damaged lease said of its own
            if drafts != _drafts(path, mine):
                _delete(drafts)
        draft.write_bytes(content)
        os.replace(draft, path)
        return True
    finally:
        draft.unlink(missing_ok=True)
        takeover.unlink(missing_ok=True)


def _delete(drafts: Path) -> None:
    """Delete a folder of drafts; its former owner may be writing there."""
    for _ in range(1000):
        shutil.rmtree(drafts, ignore_errors=True)
        if not drafts.exists():
            return
    shutil.rmtree(drafts)  # says why


def _content(path: Path) -> bytes | None:
    """Read a lease, again for a moment where the file system refuses; None if it is gone.

    Raises:
        StoreError: if it cannot be read.
    """
    for wait in _WAITS:
        try:
            return content_of(path)
        except FileNotFoundError:
            return None
        except OSError:
            time.sleep(wait)
    with store_errors(path):
        return content_of(path)


def _read(path: Path) -> dict[str, Any] | None:
    """Read a lease; None if it is gone or broken."""
    content = _content(path)
    return None if content is None else _parsed(content)


def _parsed(content: bytes) -> dict[str, Any] | None:
    try:
        lease = json.loads(content)
    except (ValueError, RecursionError):
        return None
    sound = isinstance(lease, dict) and all(isinstance(lease.get(name), kind) for name, kind in _FIELDS.items())
    sound = sound and 0 < lease["pid"] < 2**31 and all(isinstance(run_id, str) for run_id in lease["runs"])
    return lease if sound else None


def _active(path: Path) -> dict[str, Any] | None:
    """Read a lease; None if it is gone, broken or has expired."""
    lease = _read(path)
    return lease if lease and _is_active(path, lease) else None


def _is_held(path: Path) -> bool:
    """Return whether a lease is to be left alone: an active one, or one that may be half-written just now."""
    lease = _read(path)
    return _is_younger(path, RENEWAL_SECONDS) if lease is None else _is_active(path, lease)


def _is_active(path: Path, lease: dict[str, Any]) -> bool:
    alive = process.is_alive(lease)
    return _is_younger(path, EXPIRY_SECONDS) if alive is None else alive


def _is_younger(path: Path, seconds: float) -> bool:
    try:
        return -CLOCK_SECONDS < clock.now(path.parent) - path.stat().st_mtime < seconds  # the far future is no renewal
    except OSError:
        return False
