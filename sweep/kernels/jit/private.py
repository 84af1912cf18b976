"""Private: whether other users can replace what lies in a folder. What is compiled is kept on disk, and executed."""

import grp
import os
import pwd
import stat
from pathlib import Path

from relusweep.sweep.errors import RelusweepError


class CacheError(RelusweepError):
    """There is no folder for what is compiled that no other user can write."""


def weakness(folder: Path) -> str | None:
    """Return which folder on the way to what lies in this one another user can change, and why; None if there is none.

    Root is no other user, nor is the owner of `/`, as whom a container may show root. A folder such as /tmp, in which
    everybody may write and rename what is his own, may lie on the way; the last one may not be of that kind.

    **Why that is enough**, though it is looked at first and opened afterwards, by name: to exchange a name takes leave
    to write in the folder that it is in. The whole way is looked at, without links, and in each of its folders no
    other user has that leave, nor the right to take it; below /tmp and its like a name is its owner's, one of us. So
    what was found is there until we or root change it, and opening each folder relative to the one before would find
    the same. Who asks has to go on with the path without links (`Path.resolve`): a link may lie in a folder of
    another user's.
    """
    last = Path(os.path.realpath(folder))
    trusted = {0, os.getuid(), os.stat("/").st_uid}
    for each in (last, *last.parents):
        try:
            status = each.stat()
        except OSError as error:
            return f"{each}: {error.strerror}"
        if status.st_uid not in trusted:
            return f"{each} belongs to another user, {status.st_uid}"
        if status.st_mode & stat.S_ISVTX and each != last:
            continue
        if status.st_mode & stat.S_IWOTH:
            return f"{each} can be written by everyone"
        if status.st_mode & stat.S_IWGRP and (_has_list(each) or not _is_of_one(status.st_gid)):
            return f"{each} can be written by its group, {status.st_gid}"
    return None


def _has_list(folder: Path) -> bool:
    """Return whether an access control list may give others what the mode shows as the group's."""
    try:
        return "system.posix_acl_access" in os.listxattr(folder)
    except (AttributeError, OSError):  # not on Linux; a file system without lists
        return False


def _is_of_one(group: int) -> bool:
    """Return whether a group is root's, or the one that many systems make for each user, of the same name."""
    if group == 0:
        return True
    try:
        return grp.getgrgid(group).gr_name == pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return False
