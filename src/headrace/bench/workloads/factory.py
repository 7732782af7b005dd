"""From the name of a data set to the requests that are sent. Knows the loaders, and no format."""

from collections.abc import Callable
from pathlib import Path

from headrace.bench.errors import OptionError
from headrace.bench.records import PlannedRequest
from headrace.bench.workloads.conversations import load_conversations
from headrace.bench.workloads.humaneval import load_humaneval
from headrace.bench.workloads.options import WorkloadOptions
from headrace.bench.workloads.prompt_file import load_prompts, repeat_prompt
from headrace.bench.workloads.random_prompts import load_random_lengths
from headrace.bench.workloads.shared_prefix import load_shared_prefix
from headrace.bench.workloads.sharegpt import load_sharegpt
from headrace.bench.workloads.traces import load_azure, load_mooncake

_DRAWN: dict[str, Callable[[WorkloadOptions], list[PlannedRequest]]] = {
    "random": load_random_lengths,
    "shared-prefix": load_shared_prefix,
}

_READ: dict[str, Callable[[WorkloadOptions, Path], list[PlannedRequest]]] = {
    "prompts": load_prompts,
    "sharegpt": load_sharegpt,
    "conversations": load_conversations,
    "humaneval": load_humaneval,
    "azure": load_azure,
    "mooncake": load_mooncake,
}


def load_workload(options: WorkloadOptions) -> list[PlannedRequest]:
    """The requests, the same ones for the same options and files.

    Raises WorkloadError, with the file and the line, for files that cannot be used.
    """
    if options.dataset in _DRAWN:
        return _DRAWN[options.dataset](options)
    if options.prompt is not None:
        if options.dataset != "prompts" or options.path is not None:
            raise OptionError("Give a prompt, or a data set with its file, not both.")
        return repeat_prompt(options, options.prompt)
    if options.path is None:
        raise OptionError(f"The data set {options.dataset} needs its file: give its path.")
    return _READ[options.dataset](options, options.path)
