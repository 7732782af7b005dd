"""Every error that Headrace raises on purpose, with its stable code.

HeadraceError
├── InvalidRequestError        invalid_request          the request is invalid (HTTP 400)
│   ├── InvalidParameterError  invalid_value            one named parameter is wrong
│   ├── ContextLengthError     context_length_exceeded  the prompt does not fit the context
│   ├── TaskNotSupportedError  task_not_supported       the model is served for another task
│   └── AdapterError           invalid_adapter          an adapter cannot be loaded
├── InvalidInputError          invalid_input            an option, variable or file is invalid
├── ModelError                 model_error              the model cannot be served as configured
│   ├── ModelNotFoundError     model_not_found          no such model, file or package
│   ├── UnsupportedModelError  unsupported_model        an architecture, tensor type or tokenizer
│   └── ModelFileError         invalid_model_file       a file of the model is damaged
├── ModelLoadError             model_load_failed        a model cannot be loaded now (HTTP 503)
├── MemoryFitError             insufficient_memory      weights or KV cache do not fit into memory
├── RequestFailedError         request_failed           the engine failed on one request (HTTP 500)
├── QueueFullError             queue_full               too many requests wait (HTTP 429)
├── EngineDrainingError        draining                 no new requests are taken (HTTP 503)
├── EngineDeadError            engine_dead              the core's process has ended (HTTP 500)
├── ConcurrentCallError        concurrent_call          a second caller of what takes one
├── CallOrderError             call_order               a method was called too early
└── KernelError                kernel_failed            a kernel failed or got wrong arguments

docs/errors.md lists these and the errors of the other packages. Where an error has an HTTP
response, the response has the same code.
"""


class HeadraceError(Exception):
    """Base of all errors here. The text says what is wrong and what to do about it.

    Only subclasses are raised.
    """

    code: str = "error"
    """Stable across versions, unlike the text. In snake_case."""


class InvalidRequestError(HeadraceError):
    """The request is invalid. It changed nothing."""

    code = "invalid_request"


class InvalidParameterError(InvalidRequestError):
    """One parameter is invalid; ``param`` is its name in the caller's spelling."""

    code = "invalid_value"

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param}: {message}")
        self.param = param


class ContextLengthError(InvalidRequestError):
    """The prompt (or prompt plus ``max_tokens``) is longer than the context."""

    code = "context_length_exceeded"

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
        self.max_tokens = max_tokens


class TaskNotSupportedError(InvalidRequestError):
    """The model is served for another task: text, embeddings or classification."""

    code = "task_not_supported"


class AdapterError(InvalidRequestError):
    """An adapter cannot be loaded: its files, its rank, or the number of loaded adapters."""

    code = "invalid_adapter"


class InvalidInputError(HeadraceError):
    """An option, argument, environment variable or file of a command is invalid."""

    code = "invalid_input"


class ModelError(HeadraceError):
    """The model cannot be served as configured."""

    code = "model_error"


class ModelNotFoundError(ModelError):
    """The model, file, package or repository does not exist."""

    code = "model_not_found"


class UnsupportedModelError(ModelError):
    """The model's architecture, tensor type or tokenizer is not supported."""

    code = "unsupported_model"


class ModelFileError(ModelError):
    """A file of the model is damaged, incomplete or contradicts another."""

    code = "invalid_model_file"


class ModelLoadError(HeadraceError):
    """A model that a request needs cannot be loaded; a later request tries again."""

    code = "model_load_failed"


class MemoryFitError(HeadraceError):
    """Weights or KV cache do not fit into memory."""

    code = "insufficient_memory"


class RequestFailedError(HeadraceError):
    """The engine failed on this request; no other request is affected."""

    code = "request_failed"


class QueueFullError(HeadraceError):
    """Too many requests are waiting; retry after ``retry_after_s`` seconds."""

    code = "queue_full"

    def __init__(self, max_queue: int, retry_after_s: int) -> None:
        super().__init__(
            f"The queue is full ({max_queue} requests wait). Try again in {retry_after_s} s."
        )
        self.retry_after_s = retry_after_s


class EngineDrainingError(HeadraceError):
    """The engine is shutting down and takes no new requests."""

    code = "draining"


class EngineDeadError(HeadraceError):
    """The engine core's process has ended; running requests cannot finish."""

    code = "engine_dead"

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """Negative for a signal. None: not known here."""


class ConcurrentCallError(HeadraceError):
    """A second thread called an object that takes one caller at a time. The call did nothing."""

    code = "concurrent_call"


class CallOrderError(HeadraceError):
    """A method was called before another one that it needs. The call did nothing."""

    code = "call_order"


class KernelError(HeadraceError):
    """A kernel failed, or it or a CUDA graph got arguments out of its range, such as an index
    outside a table."""

    code = "kernel_failed"
