"""Every error that Headrace raises on purpose.

HeadraceError
├── InvalidRequestError        the caller's request is wrong (HTTP 400)
│   ├── InvalidParameterError  one named parameter is wrong
│   └── ContextLengthError     the prompt does not fit the context
├── ModelError                 the model cannot be served as asked
│   ├── ModelNotFoundError     no such model, file or package
│   ├── UnsupportedModelError  an architecture, tensor type or tokenizer we do not know
│   └── ModelFileError         a file of the model is damaged or incomplete
├── MemoryFitError             weights or KV cache do not fit into the memory there is
├── RequestFailedError         the engine failed on one request; others go on (HTTP 500)
├── QueueFullError             too many requests wait (HTTP 429)
├── EngineDrainingError        the engine takes no new requests (HTTP 503)
├── EngineDeadError            the engine core's process is gone (HTTP 500)
├── ConcurrentCallError        a second thread called what takes one caller at a time
└── KernelError                a CPU kernel was given what it does not compute
"""


class HeadraceError(Exception):
    """Base of all errors here; its text is written for the person who can mend it."""


class InvalidRequestError(HeadraceError):
    """The request is wrong and nothing was changed by it."""


class InvalidParameterError(InvalidRequestError):
    """One parameter is wrong; ``param`` is its name as the caller wrote it."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param}: {message}")
        self.param = param


class ContextLengthError(InvalidRequestError):
    """The prompt (or prompt plus ``max_tokens``) is longer than the context."""

    def __init__(
        self,
        num_prompt_tokens: int,
        max_model_len: int,
        max_tokens: int | None = None,
        *,
        is_lower_bound: bool = False,
    ) -> None:
        """is_lower_bound: the prompt was not tokenized; it has this many tokens at the least."""
        at_least = "at least " if is_lower_bound else ""
        asked = f"the prompt has {at_least}{num_prompt_tokens} tokens"
        if max_tokens is not None:
            asked += (
                f" and max_tokens asks for {max_tokens} more "
                f"({num_prompt_tokens + max_tokens} in all)"
            )
        super().__init__(
            f"This model's maximum context length is {max_model_len} tokens, but {asked}. "
            "Shorten the prompt or lower max_tokens."
        )
        self.num_prompt_tokens = num_prompt_tokens
        self.max_model_len = max_model_len


class ModelError(HeadraceError):
    """The model cannot be served as asked."""


class ModelNotFoundError(ModelError):
    """There is no such model, file, package or repository."""


class UnsupportedModelError(ModelError):
    """The model's architecture, tensor type or tokenizer is not one of ours."""


class ModelFileError(ModelError):
    """A file of the model is damaged, incomplete or contradicts another."""


class MemoryFitError(HeadraceError):
    """Weights or KV cache do not fit into the memory there is."""


class RequestFailedError(HeadraceError):
    """The engine failed on this request; no other request is affected."""


class QueueFullError(HeadraceError):
    """Too many requests are waiting; come back after ``retry_after_s`` seconds."""

    def __init__(self, max_queue: int, retry_after_s: int) -> None:
        super().__init__(
            f"The queue is full ({max_queue} requests wait). Try again in {retry_after_s} s."
        )
        self.retry_after_s = retry_after_s


class EngineDrainingError(HeadraceError):
    """The engine is shutting down and takes no new requests."""


class EngineDeadError(HeadraceError):
    """The engine core's process is gone; running requests cannot be finished."""


class ConcurrentCallError(HeadraceError):
    """A second thread called what takes one caller at a time; its call did nothing."""


class KernelError(HeadraceError):
    """A CPU kernel was given what it does not compute: an index outside of a table, say."""
