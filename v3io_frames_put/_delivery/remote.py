"""One stream on the platform: its life, its shards, and what lies where it should be."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from v3io_frames_put._delivery import refusals
from v3io_frames_put._delivery.checks import check_whole
from v3io_frames_put._wire import answers, protocol, requests
from v3io_frames_put.config import MAX_SHARDS
from v3io_frames_put.errors import ConfigError, ProtocolError, RequestError, StreamNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from v3io_frames_put._delivery.asking import Asker
    from v3io_frames_put._wire.answers import ListingPage, StreamDescription
    from v3io_frames_put._wire.exchange import Answer, Request
    from v3io_frames_put._wire.paths import StreamPath

_log = logging.getLogger("v3io_frames_put")
_SUCCESS: Final = frozenset({200, 201, 204})
_CONFLICT: Final = 409
_NOT_FOUND: Final = 404
_SWEEPS: Final = 3  # a producer that still writes may add a shard's file behind our back


@dataclass(frozen=True, slots=True)
class RemoteStream:
    """A stream, and the platform that is asked about it."""

    asker: Asker
    path: StreamPath

    def describe(self) -> StreamDescription:
        """Ask for shard count and retention."""
        request = requests.describe_stream_request(self.path)
        return answers.parse_description(self.expect(request, "describe stream"))

    def create(self, *, shards: int, retention_hours: int, exist_ok: bool) -> StreamDescription:
        """Create the stream; one that exists is left as it is."""
        shards = check_whole("shards", shards, least=1, most=MAX_SHARDS)
        retention_hours = check_whole("retention_hours", retention_hours, least=1)
        request = requests.create_stream_request(
            self.path, shards=shards, retention_hours=retention_hours
        )
        # Asked twice, the second answer would call our own stream somebody else's.
        answer = self.asker.ask(request, doing=f"create stream {self.path}", is_repeatable=exist_ok)
        if answer.status in _SUCCESS:
            return answers.StreamDescription(shards, retention_hours)
        if refusals.is_missing(answer):
            raise refusals.container_not_found(self.path, answer)
        if not _is_in_use(answer):
            raise self.refusal(answer, "create stream")
        return self._adopt(answer, shards, exist_ok=exist_ok)

    def _adopt(self, answer: Answer, shards: int, *, exist_ok: bool) -> StreamDescription:
        """Take the stream that is there already, or say that it is."""
        found = self.describe()
        if not exist_ok:
            raise RequestError(
                f"stream {str(self.path)!r}: it exists already, with {found.shards} shards; "
                f"expected a free path. Choose another, or use it as it is with exist_ok=True.",
                status=answer.status,
                error_code=protocol.parse_error(answer).code,
            )
        if found.shards != shards:
            _log.warning(
                "stream %s exists with %d shards, not %d; it was left as it is",
                self.path, found.shards, shards,
            )  # fmt: skip
        return found

    def update(self, *, shards: int) -> StreamDescription:
        """Grow the stream to a shard count; one that has it is left as it is."""
        shards = check_whole("shards", shards, least=1, most=MAX_SHARDS)
        found = self.describe()
        if shards < found.shards:
            raise ConfigError(
                f"shards={shards}: stream {str(self.path)!r} has {found.shards} and can only grow. "
                f"Give a larger number."
            )
        if shards == found.shards:
            return found
        request = requests.update_stream_request(self.path, shards=shards)
        answer = self.asker.ask(request, doing=f"update stream {self.path}")
        # A try whose answer was lost may have done it: then the next one is refused.
        if answer.status not in _SUCCESS and self.describe().shards != shards:
            raise self.refusal(answer, "update stream")
        return answers.StreamDescription(shards, found.retention_hours)

    def delete(self) -> None:
        """Delete the stream and every record in it, and nothing else.

        All is looked at before anything is deleted.
        """
        self.describe()
        for _ in range(_SWEEPS):
            for key in self._own_keys():
                self._delete(requests.delete_object_request(self.path.container, key))
            answer = self._delete(requests.delete_directory_request(self.path))
            if answer.status != _CONFLICT:
                return
        raise RequestError(
            f"delete stream {self.path}: its records are deleted, and new ones keep coming; "
            f"expected an empty directory. Stop its producers, then delete again.",
            status=_CONFLICT,
        )

    def _own_keys(self) -> list[str]:
        """List the stream's files, unless something lies there that is none of its own."""
        try:
            pages = list(self.pages())
        except StreamNotFound:
            return []  # a stream that was never written to may have nothing to list
        directories = [name for page in pages for name in page.directories]
        if directories:
            raise RequestError(
                f"delete stream {self.path}: it holds the directory {directories[0]!r}; expected "
                f"only a stream's files. Nothing was deleted; look into it first."
            )
        keys = [entry.key for page in pages for entry in page.objects]
        below = f"{self.path.path}/"
        stray = [key for key in keys if not key.startswith(below) or "/" in key[len(below) :]]
        if stray:
            raise ProtocolError(
                f"delete stream {self.path}: the listing names {stray[0]!r}, which is not below "
                f"it. Nothing was deleted; report this to the platform's administrator."
            )
        return keys

    def _delete(self, request: Request) -> Answer:
        """Delete one thing; one that is gone already is fine."""
        answer = self.asker.ask(request, doing=f"delete stream {self.path}")
        if answer.status in _SUCCESS or answer.status in (_NOT_FOUND, _CONFLICT):
            return answer
        raise self.refusal(answer, "delete stream")

    def pages(self) -> Iterator[ListingPage]:
        """List the stream's directory, page by page."""
        marker: str | None = None
        while True:
            request = requests.list_request(self.path.container, self.path.path, marker=marker)
            page = answers.parse_listing(self.expect(request, "list stream"))
            yield page
            if page.next_marker is None:
                return
            if page.next_marker == marker:
                raise ProtocolError(f"list stream {self.path}: its pages repeat themselves.")
            marker = page.next_marker

    def diagnose(self) -> RequestError:
        """Make the error for a stream that the platform says is not there. Never raises.

        Nothing is there, or something else is: the platform's own word is the same.
        """
        try:
            found = self._find_fault()
        except RequestError as error:
            _log.warning("%s", error)
            return refusals.stream_not_found(self.path)
        return found or RequestError(
            f"stream {str(self.path)!r}: the platform said that it is not there, and now it is; "
            f"expected it to stay. Look for who deleted it and made it anew."
        )

    def _find_fault(self) -> RequestError | None:
        """Look at what is there. None: the stream."""
        answer = self.asker.ask(
            requests.describe_stream_request(self.path), doing=f"describe stream {self.path}"
        )
        if answer.status in _SUCCESS:
            return None
        if not refusals.is_missing(answer):
            return self.refusal(answer, "describe stream")
        error = protocol.parse_error(answer)
        if self._is_there(requests.list_request(self.path.container, self.path.path, max_keys=1)):
            return refusals.not_a_stream(self.path, error, found="a directory")
        if self._is_there(requests.head_object_request(self.path.container, self.path.path)):
            return refusals.not_a_stream(self.path, error, found="a file")
        return refusals.stream_not_found(self.path, error)

    def _is_there(self, request: Request) -> bool:
        return self.asker.ask(request, doing=f"look at {self.path}").status in _SUCCESS

    def expect(self, request: Request, doing: str) -> Answer:
        """Ask, and accept nothing but success."""
        answer = self.asker.ask(request, doing=f"{doing} {self.path}")
        if answer.status not in _SUCCESS:
            raise self.refusal(answer, doing)
        return answer

    def refusal(self, answer: Answer, doing: str) -> RequestError:
        """Make the error for an answer about this stream."""
        if refusals.is_missing(answer):
            return self._look_closer(answer, doing)
        return self.asker.refusal(answer, doing=doing, stream=self.path)

    def _look_closer(self, answer: Answer, doing: str) -> RequestError:
        """Tell a missing stream from something else at its path."""
        return self._find_fault() or self.asker.refusal(answer, doing=doing, stream=self.path)


def _is_in_use(answer: Answer) -> bool:
    """Say whether the path is taken: 409, or in some releases 400 and a name."""
    return (
        answer.status == _CONFLICT or protocol.parse_error(answer).name == protocol.RESOURCE_IN_USE
    )
