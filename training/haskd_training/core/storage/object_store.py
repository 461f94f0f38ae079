"""What is asked of an object store, by fsspec: again and again for a while where it fails.

A store under load answers 503, drops connections or sends half a file. Such a request is repeated
with exponential back-off, jittered so that many processes don't come back all at once.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from haskd_ros.errors import InputError
from haskd_ros.files import is_full
from haskd_ros.text import shown
from haskd_training.core.storage.settings import store_settings

if TYPE_CHECKING:
    from aiohttp import ClientTimeout

Answer = TypeVar("Answer")

_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
"""What fsspec needs for a protocol, for the command that installs it."""

_SILENCE_S = 30
"""After which a connection that brings nothing is given up."""

_SILENCE_WRITING_S = 600
"""The same where s3fs sends a whole shard in one request: nothing comes back meanwhile."""

_GOOGLE_CHUNK = 4 * 1024 * 1024
"""Bytes of a request of an upload by gcsfs. While they are on their way nothing comes back: with
its own 50 MB a slow line would be given up."""

_NO_CREDENTIALS = {
    "CredentialRetrievalError", "DefaultCredentialsError", "NoCredentialsError",
    "PartialCredentialsError", "ProfileNotFound", "RefreshError", "TokenRetrievalError",
}  # fmt: skip
"""Errors of the stores' own libraries, which need not be installed, by name."""

_FINAL = (PermissionError, IsADirectoryError, NotImplementedError, ValueError)
"""What another try doesn't mend."""

_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
"""Of the answers that find fault with a request, those that another try may mend."""

_FORBIDDEN = "Forbidden: "
"""With which gcsfs begins what it says of an answer of 403, whose number it leaves out."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 16.0
_SHOWN = 300

log = logging.getLogger(__name__)


def deadline() -> float:
    """Of `time.monotonic`: until when a store that fails from now on is asked again."""
    return time.monotonic() + store_settings().retry_s


def read(url: str) -> bytes:
    """The content of an object.

    Raises:
        FileNotFoundError: there is none.
        InputError: the store doesn't give it.
    """

    def whole(store: Any, path: str) -> bytes:
        size = store.info(path).get("size")
        content: bytes = store.cat_file(path)
        _check_size(len(content), size)
        return content

    return _asked("read", url, whole)


def fetch(url: str, path: Path, until_s: float) -> None:
    """Copy an object to a file.

    Args:
        until_s: of `time.monotonic`: after that a store that fails is not asked again.

    Raises:
        as of `read`; OSError: the file can't be written.
    """

    def copy(store: Any, source: str) -> None:
        size = store.info(source).get("size")
        store.get_file(source, str(path))
        _check_size(path.stat().st_size, size)

    _asked("read", url, copy, until_s)


def upload(path: Path, url: str) -> None:
    """Copy a file to an object, which is there whole or not at all.

    Raises:
        InputError: the store doesn't take it.
        OSError: the file can't be read.
    """

    def copy(store: Any, target: str) -> None:
        chunks = {"chunksize": _GOOGLE_CHUNK} if url.startswith("gs:") else {}
        store.put_file(str(path), target, **chunks)
        _check_size(store.info(target).get("size"), path.stat().st_size)

    try:
        _asked("written", url, copy)
    except FileNotFoundError as error:  # no such bucket
        raise InputError(f"{url} can't be written: {shown(error)}") from error


def is_file(url: str) -> bool:
    """Whether there is such an object.

    Raises:
        InputError: the store doesn't tell.
    """
    try:
        return _asked("read", url, lambda store, path: bool(store.info(path)["type"] == "file"))
    except FileNotFoundError:
        return False


def names_in(url: str) -> set[str]:
    """Names of the objects and folders in a folder; empty where there is none.

    Raises:
        InputError: the store doesn't tell.
    """

    def names(store: Any, path: str) -> set[str]:
        try:
            entries = store.ls(path, detail=False)
        except FileNotFoundError:
            return set()
        return {str(entry).rstrip("/").rpartition("/")[2] for entry in entries}

    return _asked("listed", url, names)


def _asked(
    done: str,
    url: str,
    question: Callable[[Any, str], Answer],
    until_s: float | None = None,
) -> Answer:
    """What a question to a store is answered.

    Args:
        done: what should have been done, for the message.
        question: gets the file system and the path in it.
        until_s: as of `fetch`; None: the deadline of a question that is put now.
    """
    until_s = deadline() if until_s is None else until_s
    started, wait, tries = time.monotonic(), _FIRST_WAIT_S, 0
    while True:
        tries += 1
        try:
            return question(*_opened(url, writing=done == "written"))
        except Exception as error:
            if isinstance(error, InputError) or is_full(error):
                raise
            if isinstance(error, FileNotFoundError) and _is_missing(error):
                raise
            if reason := _final_reason(error, url):
                raise InputError(f"{url} can't be {done}: {reason}") from error
            now, pause = time.monotonic(), wait * random.uniform(0.5, 1.0)
            if now + pause > until_s:
                asked = f"{tries} {'try' if tries == 1 else 'tries'} in {now - started:.0f} s"
                raise InputError(
                    f"{url} can't be {done}: {_said(error)} ({asked}); run the same command again "
                    "when the store answers"
                ) from error
            log.debug("%s, try %d: %s", url, tries, _said(error))
        time.sleep(pause)
        wait = min(2 * wait, _LONGEST_WAIT_S)


def _opened(url: str, *, writing: bool) -> tuple[Any, str]:
    """The file system of a URL, and the path in it. Not kept: fsspec does, anew after a fork."""
    from fsspec.config import conf
    from fsspec.core import url_to_fs

    protocol = url.partition("://")[0]
    try:
        options = {**_options(protocol, writing=writing), **conf.get(protocol, {})}
        store, path = url_to_fs(url, use_listings_cache=False, **options)
    except ImportError as error:
        package = _PACKAGES.get(protocol)
        remedy = f"pip install {package}" if package else shown(error)
        raise InputError(
            f"{url}: {protocol}:// needs a package that is missing: {remedy}"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{url}: {shown(error)}; known are s3://, gs:// and others of fsspec"
        ) from error
    return store, str(path)


def _options(protocol: str, *, writing: bool) -> dict[str, Any]:
    """Of a file system, where the user's fsspec configuration says nothing else."""
    if protocol == "s3":
        # Its own retries inside ours would make minutes of seconds.
        silence_s = _SILENCE_WRITING_S if writing else _SILENCE_S
        return {"config_kwargs": {"retries": {"max_attempts": 0}, "read_timeout": silence_s}}
    if protocol == "gs":
        # Else it asks by gRPC before each request which kind of bucket this is, which nothing here
        # needs and which few may, and a process with gRPC at work is none to fork.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        return {"requests_timeout": _silence(2 * _SILENCE_S)}
    if protocol in ("http", "https"):
        return {"client_kwargs": {"timeout": _silence()}}
    return {}


def _silence(read_s: float = _SILENCE_S) -> ClientTimeout:
    """aiohttp's limits of a request: none for all of it, since a shard may take its time."""
    from aiohttp import ClientTimeout

    return ClientTimeout(total=None, sock_connect=_SILENCE_S, sock_read=read_s)


def _check_size(found: int | None, expected: int | None) -> None:
    """Check that what was copied is whole, where the store tells sizes."""
    if None not in (found, expected) and found != expected:
        raise ConnectionError(f"{found:,} of {expected:,} bytes came through")


def _final_reason(error: Exception, url: str) -> str:
    """Why there is no use in another try; empty where there is."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & _NO_CREDENTIALS:
        return (
            f"no credentials ({_said(error)}); give them as the store's own tools take them: "
            f"{_credentials(url)}"
        )
    return _said(error) if _is_refusal(_status(error)) or isinstance(error, _FINAL) else ""


def _credentials(url: str) -> str:
    if url.startswith("gs:"):
        return "gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS"
    return "aws configure, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def _status(error: BaseException) -> int | None:
    """The HTTP status of the answer that an error tells of: aiohttp, gcsfs and botocore have it in
    different places, and s3fs translates botocore's errors."""
    for told in (error, error.__cause__):
        response = getattr(told, "response", None)
        if isinstance(response, dict):
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or None
    if isinstance(error, OSError) and str(error).startswith(_FORBIDDEN):
        return int(HTTPStatus.FORBIDDEN)
    status = getattr(error, "status", None) or getattr(error, "code", None)
    return int(str(status)) if str(status).isdigit() else None


def _is_missing(error: FileNotFoundError) -> bool:
    """Whether there is no such object: fsspec says the same of HTTP's that it could not ask for."""
    if error.__cause__ is None or isinstance(error.__cause__, FileNotFoundError):
        return True
    return _is_refusal(_status(error.__cause__))


def _is_refusal(status: int | None) -> bool:
    """Whether an answer finds fault with the request, so that it would be the same again."""
    return status is not None and 400 <= status < 500 and status not in _PASSING


def _said(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        return _said(error.__cause__)
    return shown(f"{type(error).__name__}: {error}".removesuffix(": "), _SHOWN)
