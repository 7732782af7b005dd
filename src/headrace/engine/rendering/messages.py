"""The messages between a server and its rendering processes, in frames of msgpack."""

import msgspec

from headrace.engine.rendering.prompt_template import RenderJob, TemplateDefinition

HEADER_BYTES = 4
"""Size of the little-endian length that precedes a frame's content."""


class StartRendering(msgspec.Struct, frozen=True):
    """The first frame to the process; each later one is a RenderJob."""

    definition: TemplateDefinition
    timeout_s: float
    """The process ends itself when a job takes longer."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The process's first frame: it is ready for jobs."""


class Rendered(msgspec.Struct, frozen=True, tag=True):
    """A job's prompt."""

    prompt: str


class Rejected(msgspec.Struct, frozen=True, tag=True):
    """Why a job has no prompt."""

    message: str
    param: str | None = None
    """The request's parameter that is the cause, if it is a single one."""


Reply = Rendered | Rejected


def encode_message(message: StartRendering | RenderJob | Ready | Reply) -> bytes:
    """The message as one frame."""
    content = msgspec.msgpack.encode(message)
    return len(content).to_bytes(HEADER_BYTES, "little") + content


def content_length(header: bytes) -> int:
    """Bytes of the frame that follow its header."""
    return int.from_bytes(header, "little")
