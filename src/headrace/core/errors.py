"""Every error that Headrace raises on purpose.

HeadraceError
├── InvalidRequestError        the request is invalid (HTTP 400)
│   ├── InvalidParameterError  one named parameter is wrong
│   └── ContextLengthError     the prompt does not fit the context
├── ModelError                 the model cannot be served as configured
│   ├── ModelNotFoundError     no such model, file or package
│   ├── UnsupportedModelError  an architecture, tensor type or tokenizer that is not supported
│   └── ModelFileError         a file of the model is damaged or incomplete
├── MemoryFitError             weights or KV cache do not fit into memory
├── RequestFailedError         the engine failed on one request; others continue (HTTP 500)
├── QueueFullError             too many requests wait (HTTP 429)
├── EngineDrainingError        the engine takes no new requests (HTTP 503)
├── EngineDeadError            the engine core's process has ended (HTTP 500)
├── ConcurrentCallError        a second thread called an object that takes one caller
└── KernelError                a CPU kernel got arguments out of its range
"""


class HeadraceError(Exception):
    """Base of all errors here. The text says what is wrong and what to do about it."""


class InvalidRequestError(HeadraceError):
    """The request is invalid. It changed nothing."""


class InvalidParameterError(InvalidRequestError):
    """One parameter is invalid; ``param`` is its name in the caller's spelling."""

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
        """is_lower_bound: the prompt was not tokenized; it has at least this many tokens."""
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
    """The model cannot be served as configured."""


class ModelNotFoundError(ModelError):
    """The model, file, package or repository does not exist."""


class UnsupportedModelError(ModelError):
    """The model's architecture, tensor type or tokenizer is not supported."""


class ModelFileError(ModelError):
    """A file of the model is damaged, incomplete or contradicts another."""


class MemoryFitError(HeadraceError):
    """Weights or KV cache do not fit into memory."""


class RequestFailedError(HeadraceError):
    """The engine failed on this request; no other request is affected."""


class QueueFullError(HeadraceError):
    """Too many requests are waiting; retry after ``retry_after_s`` seconds."""

    def __init__(self, max_queue: int, retry_after_s: int) -> None:
        super().__init__(
            f"The queue is full ({max_queue} requests wait). Try again in {retry_after_s} s."
        )
        self.retry_after_s = retry_after_s


class EngineDrainingError(HeadraceError):
    """The engine is shutting down and takes no new requests."""


class EngineDeadError(HeadraceError):
    """The engine core's process has ended; running requests cannot finish."""


class ConcurrentCallError(HeadraceError):
    """A second thread called an object that takes one caller at a time. The call did nothing."""


class KernelError(HeadraceError):
    """A CPU kernel got arguments out of its range, such as an index outside a table."""
