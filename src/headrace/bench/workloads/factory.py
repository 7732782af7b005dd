"""Loads a workload by the name of its data set."""

from collections.abc import Callable
from pathlib import Path

from headrace.bench.errors import OptionError
from headrace.bench.records import PlannedRequest
from headrace.bench.workloads.conversations import load_conversations
from headrace.bench.workloads.options import WorkloadOptions
from headrace.bench.workloads.prompt_file import load_humaneval, load_prompts, repeat_prompt
from headrace.bench.workloads.random_prompts import load_random_prompts, load_shared_prefix
from headrace.bench.workloads.sharegpt import load_sharegpt
from headrace.bench.workloads.traces import load_azure, load_mooncake

_DRAWN: dict[str, Callable[[WorkloadOptions], list[PlannedRequest]]] = {
    "random": load_random_prompts,
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
    """The requests; the same options and files give the same ones.

    Raises WorkloadError, with file and line, for a file that cannot be used.
    """
    if options.dataset in _DRAWN:
        return _DRAWN[options.dataset](options)
    if options.prompt is not None:
        if options.dataset != "prompts" or options.path is not None:
            raise OptionError("Give either a prompt or a data set with its file.")
        return repeat_prompt(options, options.prompt)
    if options.path is None:
        raise OptionError(f"The data set {options.dataset} needs its file: give its path.")
    return _READ[options.dataset](options, options.path)
