"""Token: what lets a user into a Ray cluster. One of ours has its own, in a file that only its owner can read."""

import os
import secrets
from functools import cache
from pathlib import Path

from relusweep.cluster.backend import BackendError


def ask_for_token(path: Path) -> None:
    """Write a new token into a file of our own, and have clusters that are started from now on ask for it."""
    path.unlink(missing_ok=True)  # it might be another user's
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(_token())
    os.environ.pop("RAY_AUTH_TOKEN", None)  # it would go first
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path.absolute())}


def check_token(where: str, seconds: float) -> None:
    """Ask once whether the cluster lets us in: Ray would ask twenty times, and then report that nothing answers.

    Args:
        where: HOST:PORT of the cluster.
        seconds: To wait for its answer.

    Raises:
        BackendError: if it does not.
    """
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import gcs_service_pb2
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    asked = gcs_service_pb2.GetClusterIdRequest()  # pyright: ignore[reportAttributeAccessIssue] - made at import
    channel = init_grpc_channel(where)
    try:
        NodeInfoGcsServiceStub(channel).GetClusterId(asked, timeout=seconds)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:  # pyright: ignore[reportAttributeAccessIssue]
            got = f"got that of {_token_source()}" if has_token() else "got none"
            raise BackendError(
                f"RAY_ADDRESS={where}: the cluster asks for its token, {got}; "
                "expected RAY_AUTH_TOKEN_PATH=FILE with it."
            ) from None
    finally:
        channel.close()


def _token_source() -> str:
    if "RAY_AUTH_TOKEN" in os.environ:
        return "RAY_AUTH_TOKEN"
    return os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")


def has_token() -> bool:
    """Return whether the user has given a token, in any of the ways that Ray knows."""
    named = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
    return bool(named) or Path("~/.ray/auth_token").expanduser().exists()


@cache
def _token() -> str:
    """Return one for all clusters of this process: Ray reads it once."""
    return secrets.token_hex(32)
