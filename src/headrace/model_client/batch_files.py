"""The files of a batch. Results are written in the order of the requests, so that an output file of
any size says how far the batch has come."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from headrace.core.errors import InvalidInputError
from headrace.model_client.batch_request import (
    MAX_LINE_BYTES,
    BatchRequest,
    BatchResult,
    parse_request,
    parse_result,
)


class BatchInput:
    """The requests of the input file, one at a time. Blank lines are skipped."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._file = path.open("rb")
        self.num_bytes = os.fstat(self._file.fileno()).st_size
        self.num_bytes_read = 0

    def __iter__(self) -> Iterator[BatchRequest]:
        for number, line in enumerate(_lines(self._file), start=1):
            self.num_bytes_read += len(line)
            if line.strip():
                yield parse_request(line, number)

    def close(self) -> None:
        self._file.close()


class BatchOutput:
    """The output file, and the results that an earlier run left in it.

    Without ``retry_failed`` new results are appended. With it, the file is written anew beside the
    old one, which it replaces when all results are written.
    """

    def __init__(self, path: Path, *, retry_failed: bool) -> None:
        """retry_failed: send the requests again whose earlier result is a failure.

        Raises OSError.
        """
        path.touch()
        self._path = path
        self._earlier: BinaryIO | None = path.open("rb")
        self._num_earlier_bytes = 0
        self._retry_failed = retry_failed
        self._new_path = path.with_name(f".{path.name}.new") if retry_failed else path
        self._file = self._new_path.open("wb" if retry_failed else "r+b")

    def reuse(self, request: BatchRequest) -> BatchResult | None:
        """The earlier result of the next request; None if the request is to be sent.

        Raises InvalidInputError if the file is the output of another batch.
        """
        result = self._next_earlier()
        if result is None:
            return None
        if result.custom_id != request.custom_id:
            raise InvalidInputError(
                f"{self._path} belongs to another batch: it has a result of {result.custom_id!r} "
                f"where the input has {request.custom_id!r}. Write to another file."
            )
        return None if self._retry_failed and not result.is_successful else result

    def write(self, result: BatchResult) -> None:
        """Add the next result. An earlier one may be in the file already."""
        if not self._retry_failed and self._earlier is not None:
            self._num_earlier_bytes += len(result.line)
            return
        self._file.write(result.line)
        self._file.flush()

    def close(self, *, is_complete: bool) -> None:
        """is_complete: the results of all requests were written."""
        if self._earlier is not None:
            self._earlier.close()
        self._file.close()
        if self._retry_failed:
            if is_complete:
                os.replace(self._new_path, self._path)
            else:
                self._new_path.unlink()

    def _next_earlier(self) -> BatchResult | None:
        if self._earlier is None:
            return None
        line = next(_lines(self._earlier), b"")
        result = parse_result(line)
        if result is not None:
            return result
        if line.endswith(b"\n") or len(line) > MAX_LINE_BYTES:
            raise InvalidInputError(
                f"{self._path} is not the output of a batch. Write to another file."
            )
        # The end, or a line that a kill cut short.
        self._earlier.close()
        self._earlier = None
        if not self._retry_failed:
            self._file.truncate(self._num_earlier_bytes)
            self._file.seek(self._num_earlier_bytes)
        return None


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines; of one that is too long, its first MAX_LINE_BYTES + 1 bytes."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE_BYTES + 1)
        yield line
