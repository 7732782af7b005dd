"""Options of ``vllm serve`` that ``headrace serve`` does not have.

A value that asks for what holds here anyway is accepted, so that a command line of vLLM's works as
it is. Any other value is an error that says what to do.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from typer.core import TyperCommand, TyperOption

from headrace.cli.errors import report_errors
from headrace.core.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class VllmOption:
    """One option of vLLM's."""

    instead: str
    """What to do instead; a sentence."""
    accepted: tuple[str, ...] = ()
    """Values that ask for what holds here anyway."""
    takes_value: bool = True
    accepts_any: bool = False
    """Whatever the value is, what it asks for holds here."""

    def check(self, name: str, value: str | None) -> None:
        """Raises InvalidInputError unless the value is accepted."""
        if not self.accepts_any and value not in self.accepted:
            given = name if value is None else f"{name} {value}"
            raise InvalidInputError(f"{given} is not supported. {self.instead}")


def _holds(takes_value: bool = False) -> VllmOption:
    return VllmOption("", takes_value=takes_value, accepts_any=True)


def _flag(instead: str) -> VllmOption:
    return VllmOption(instead, takes_value=False)


_ONE_DEVICE = VllmOption(
    "A server runs on one device. Start several replicas with `headrace up` and `headrace run`.",
    ("1",),
)
_NO_CODE = "Headrace runs no code of models, plugins or middleware. Remove it."
_UNLOGGED = "Headrace never logs prompts and outputs. Remove it."
_RECOMPUTED = VllmOption(
    "Preempted requests are computed again, mostly from the prefix cache. Remove it.", ("0", "0.0")
)
_TEXT_ONLY = "Models have text as input only. Remove it."

VLLM_OPTIONS: Mapping[str, VllmOption] = {
    # Parallelism
    **dict.fromkeys(("--tensor-parallel-size", "-tp"), _ONE_DEVICE),
    **dict.fromkeys(("--pipeline-parallel-size", "-pp"), _ONE_DEVICE),
    **dict.fromkeys(("--data-parallel-size", "-dp", "--api-server-count"), _ONE_DEVICE),
    "--distributed-executor-backend": VllmOption(_ONE_DEVICE.instead, ("mp", "uni")),
    "--enable-expert-parallel": _flag(_ONE_DEVICE.instead),
    "--headless": _flag(_ONE_DEVICE.instead),
    # The model and its files
    "--trust-remote-code": _flag(_NO_CODE),
    **dict.fromkeys(
        ("--quantization", "-q"),
        VllmOption("Weights are read in the type of their file: serve a quantized GGUF file."),
    ),
    "--load-format": VllmOption("The format is found from the files. Remove it.", ("auto",)),
    "--model-impl": VllmOption("Remove it.", ("auto",)),
    "--tokenizer-mode": VllmOption("Remove it.", ("auto", "hf")),
    "--download-dir": VllmOption("Set HF_HOME or HEADRACE_HOME."),
    "--hf-token": VllmOption("Set HF_TOKEN."),
    "--limit-mm-per-prompt": VllmOption(_TEXT_ONLY, ("{}",)),
    "--skip-mm-profiling": _holds(),
    # Memory and scheduling
    "--swap-space": _RECOMPUTED,
    "--cpu-offload-gb": VllmOption("Weights are never offloaded. Remove it.", ("0", "0.0")),
    "--kv-cache-dtype": VllmOption("The KV cache has the type of --dtype. Remove it.", ("auto",)),
    "--kv-cache-memory-bytes": VllmOption("Use --kv-cache-memory."),
    "--num-gpu-blocks-override": VllmOption("Use --kv-cache-memory."),
    "--enable-chunked-prefill": _holds(),
    "--no-enable-chunked-prefill": _flag("Long prompts are always computed in chunks. Remove it."),
    "--async-scheduling": _holds(),
    "--scheduling-policy": VllmOption("Requests are first come, first served.", ("fcfs",)),
    "--max-num-partial-prefills": VllmOption("Remove it.", ("1",)),
    "--speculative-config": VllmOption("Speculative decoding is not implemented. Remove it."),
    **dict.fromkeys(
        ("--compilation-config", "-O"), VllmOption("Models are not compiled. Remove it.", ("0",))
    ),
    "--seed": VllmOption("Send `seed` in requests.", ("0",)),
    # Generation
    "--override-generation-config": VllmOption(
        "Use --generation-config with a directory, or send the fields in requests.", ("{}",)
    ),
    "--max-logprobs": VllmOption("The maximum is 20. Remove it.", ("20",)),
    "--guided-decoding-backend": VllmOption("Remove it.", ("auto", "guidance")),
    "--response-role": VllmOption("The role is always assistant. Remove it.", ("assistant",)),
    "--chat-template-content-format": VllmOption(
        "The format is found from the template. Remove it.", ("auto",)
    ),
    "--return-tokens-as-token-ids": _flag("Send `return_token_ids` in requests."),
    "--enable-force-include-usage": _flag("Send `stream_options` in requests."),
    "--enable-prompt-tokens-details": _holds(),
    # HTTP
    "--uds": VllmOption("Use --host and --port."),
    "--ssl-ca-certs": VllmOption("Client certificates are not checked. Use --api-key-file."),
    "--ssl-cert-reqs": VllmOption("Client certificates are not checked. Remove it.", ("0",)),
    "--enable-ssl-refresh": _flag("Restart the server to use a new certificate. Remove it."),
    "--middleware": VllmOption(_NO_CODE),
    "--h11-max-incomplete-event-size": VllmOption("Headers may have 64 KiB. Remove it."),
    "--h11-max-header-count": VllmOption("Headers may have 64 KiB. Remove it."),
    "--enable-server-load-tracking": _holds(),
    "--enable-offline-docs": _holds(),
    "--disable-frontend-multiprocessing": _flag("The engine is always a process. Remove it."),
    # Logs
    "--disable-log-stats": _holds(),
    "--max-log-len": _holds(takes_value=True),
    "--enable-log-outputs": _flag(_UNLOGGED),
    "--log-config-file": VllmOption("Use --log-level and --log-format."),
    # Plugins
    "--tool-parser-plugin": VllmOption(_NO_CODE, ("",)),
    "--logits-processors": VllmOption(_NO_CODE),
}
"""By the option's name, in use only where ``headrace serve`` has no option of that name."""

SEVERAL = frozenset({"--served-model-name", "--api-key", "--lora-modules"})
"""Options that in vLLM take several values at once: ``--served-model-name a b``."""


class ServeCommand(TyperCommand):
    """A command that also takes vLLM's options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """ctx: click's context, whose module depends on typer's version."""
        flags: dict[str, bool] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, TyperOption):
                names = (*parameter.opts, *parameter.secondary_opts)
                flags |= dict.fromkeys(names, parameter.is_flag or parameter.count)
        with report_errors():
            args = list(translate(args, flags))
        return super().parse_args(ctx, args)


def translate(arguments: Sequence[str], flags: Mapping[str, bool]) -> Iterator[str]:
    """The arguments without vLLM's own options, and with one value for each option.

    flags: for each of the command's options, whether it takes no value.
    Raises InvalidInputError for a value of vLLM's that is not supported.
    """
    has_model = False
    rest = iter(arguments)
    several: str | None = None
    for argument in rest:
        if argument == "--":
            yield argument
            yield from rest
            return
        if not argument.startswith("-"):
            # After the model, further words are further values.
            if several is not None and has_model:
                yield several
            else:
                has_model = True
            yield argument
            continue
        name, separator, value = argument.partition("=")
        name = "-" * (len(name) - len(name.lstrip("-"))) + name.lstrip("-").replace("_", "-")
        several = name if name in SEVERAL else None
        option = None if name in flags else VLLM_OPTIONS.get(name)
        if option is not None:
            has_value = option.takes_value
            option.check(name, (value if separator else next(rest, "")) if has_value else None)
            continue
        has_model = has_model or name == "--model"
        yield argument
        if not separator and flags.get(name) is False:
            yield from (each for each in (next(rest, None),) if each is not None)
