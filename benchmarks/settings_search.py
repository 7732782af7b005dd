"""Finds the best settings of a server among candidate commands, for each workload."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from servers import Server, say
from workload_runner import WorkloadRunner
from workloads import Workload

from headrace.bench.errors import ServerError
from headrace.bench.figures.pairing import turn_order


@dataclass
class Trial:
    """The runs of one candidate on one workload."""

    command: str
    """Without secrets."""
    output_tokens_per_s: list[float] = field(default_factory=list)
    """By run; the candidate with the highest median is the best."""
    problem: str | None = None
    """Why it cannot be used; None if it can."""


@dataclass(frozen=True)
class Choice:
    """The best candidate for one workload, and the trials it was chosen from."""

    server: Server
    trials: list[Trial]

    def for_file(self) -> list[dict[str, object]]:
        """For RunResult.setting; empty if there was one candidate only."""
        return [
            {**asdict(trial), "is_best": trial.command == self.server.shown}
            for trial in self.trials
        ]


def search_settings(
    candidates: Sequence[Server],
    workloads: Sequence[Workload],
    runner: WorkloadRunner,
    num_runs: int,
) -> dict[str, Choice]:
    """The best candidate for each workload, by the name of the workload.

    The candidates of one server take turns, one at a time: started, measured on all workloads,
    stopped. A candidate that fails is excluded. A single candidate is chosen without a trial.
    Raises ServerError if all candidates fail.
    """
    if len(candidates) == 1:
        return {workload.name: Choice(candidates[0], []) for workload in workloads}
    trials = {
        workload.name: [Trial(candidate.shown) for candidate in candidates]
        for workload in workloads
    }
    indices = [str(index) for index in range(len(candidates))]
    for number in range(num_runs):
        for index in map(int, turn_order(indices, number)):
            own = {name: each[index] for name, each in trials.items()}
            _try(candidates[index], workloads, runner, number, own)
    return {name: _best(candidates, each) for name, each in trials.items()}


def _try(
    candidate: Server,
    workloads: Sequence[Workload],
    runner: WorkloadRunner,
    number: int,
    trials: dict[str, Trial],
) -> None:
    """One run per workload, unless the candidate has failed before."""
    left = [each for each in workloads if trials[each.name].problem is None]
    try:
        if left:
            runner.start(candidate)
        while left:
            workload = left[0]
            run = runner.send(workload, f"search/{number}", candidate, {}).run
            rate = run.figures.output_tokens_per_s
            trials[workload.name].output_tokens_per_s.append(rate)
            say(f"search  {workload.name}  {candidate.shown}: {rate:.1f} tokens/s")
            left.pop(0)
    except ServerError as error:
        for workload in left:
            trials[workload.name].problem = str(error)
        say(f"search  excluded: {candidate.shown}: {error}")
    finally:
        candidate.stop()


def _best(candidates: Sequence[Server], trials: list[Trial]) -> Choice:
    usable = [index for index, trial in enumerate(trials) if trial.problem is None]
    if not usable:
        raise ServerError(
            f"{candidates[0].name}: every candidate failed. The last error: {trials[-1].problem}"
        )
    best = max(usable, key=lambda index: median(trials[index].output_tokens_per_s))
    return Choice(candidates[best], trials)
