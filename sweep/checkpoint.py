"""Checkpoint: the state of a pack in a file; whole or not at all, with a hash of itself, and read without any trust.

torch checks no bit of what it reads: without the hash, one that changed on the disk would end in a row. The hash stands
behind torch's own content, where neither torch nor earlier versions look; what those wrote has none, and is read.
"""

import hashlib
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from relusweep.sweep.store.atomic import replacing, store_errors
from relusweep.sweep.store.small_file import content_of, patiently

CHECKPOINT_FORMAT = 2
_MARK = b"relusweep seal: "
_SIZE = 16  # bytes of the hash
_HOLDS_TENSORS = (torch.Tensor, dict, list, tuple)
_Count = Annotated[int, Field(ge=0, lt=2**63)]


@with_config(ConfigDict(extra="allow", strict=True))
class _Trained(TypedDict):
    step: _Count
    cursor: _Count
    ids: list[str]


@with_config(ConfigDict(extra="allow", strict=True))
class _Saved(TypedDict):
    format: int
    training: _Trained


_checked = TypeAdapter(_Saved).validate_python


def write_checkpoint(path: Path, saved: dict[str, Any]) -> None:
    """Write a state whole or not at all.

    Raises:
        StoreError: if the file system refuses.
    """
    content = io.BytesIO()  # torch reports a full disk as an error of its own kind; a file says which
    torch.save({"format": CHECKPOINT_FORMAT} | saved, content)
    content.write(_MARK + _hash(content.getbuffer()))
    with store_errors(path), replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a state: tensors and plain values, no code, and no more memory than the file has bytes, twice.

    What is in it beyond `format` and the step, the cursor and the ids in `training` is for its reader to check.

    Returns:
        None if it is missing, damaged, no file, or of another version.

    Raises:
        StoreError: if it cannot be read, whatever is in it.
    """
    try:
        content = patiently(_whole, path)
    except OSError:  # there is none
        return None
    try:
        return _unpacked(content)
    except Exception:  # whatever torch raises about what is none of its files
        return None


def _whole(path: Path) -> bytes:
    return content_of(path, most=sys.maxsize)


def _unpacked(content: bytes) -> dict[str, Any] | None:
    end = len(content) - len(_MARK) - _SIZE
    sealed = content[max(end, 0) :].startswith(_MARK)
    if sealed and _hash(memoryview(content)[:end]) != content[end + len(_MARK) :]:
        return None
    file = io.BytesIO(content)  # shares the bytes
    with zipfile.ZipFile(file) as archive:  # torch compresses nothing; who does would fill the memory with little
        if sum(each.file_size for each in archive.infolist()) > len(content):
            return None
    file.seek(0)
    saved = torch.load(file, map_location="cpu", weights_only=True)
    if _checked(saved)["format"] != CHECKPOINT_FORMAT or not all(map(_is_whole, _tensors(saved))):
        return None
    return saved


def _is_whole(tensor: torch.Tensor) -> bool:
    """Return whether a tensor has its numbers in the file: a few repeated would fill the memory when copied."""
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _tensors(saved: dict[str, Any]) -> Iterator[torch.Tensor]:
    """Yield the tensors within plain values."""
    waiting, seen = [saved], set[int]()
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            yield value
        elif id(value) not in seen:
            seen.add(id(value))
            within = value.values() if isinstance(value, dict) else value
            waiting += [each for each in within if isinstance(each, _HOLDS_TENSORS)]


def _hash(content: memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=_SIZE).digest()
