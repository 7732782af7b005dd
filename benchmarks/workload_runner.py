"""Sends a workload to a server and checks that the run is a valid measurement."""

from servers import Server
from workloads import WARM_UPS, Workload

from headrace.bench.errors import ServerError
from headrace.bench.load.arrivals import ClosedLoop
from headrace.bench.measurement import MeasurementOptions, RunPlan, measure
from headrace.bench.results.measured_run import MeasuredRun


class WorkloadRunner:
    """How servers are started and measured, the same for all of them."""

    def __init__(
        self, *, seed: int, vocab_size: int, start_timeout_s: float, request_timeout_s: float
    ) -> None:
        self._seed = seed
        self._vocab_size = vocab_size
        self._start_timeout_s = start_timeout_s
        self._request_timeout_s = request_timeout_s

    def start(self, server: Server) -> None:
        """Start the server and warm it up. Raises ServerError."""
        server.start(self._start_timeout_s)
        for workload in WARM_UPS:
            # Each start has its own warm-up prompts, so that none is cached.
            self.send(workload, f"{len(server.start_s)}", server, {})

    def send(
        self, workload: Workload, draw: str, server: Server, setting: dict[str, object]
    ) -> MeasuredRun:
        """One run. ``draw`` selects the prompts: the same ones for the same draw.

        Raises ServerError if a request failed or has other token counts than requested.
        """
        plan = RunPlan(
            workload=workload.requests(f"{self._seed}/{draw}", self._vocab_size),
            arrivals=ClosedLoop(workload.concurrency),
            timeout_s=self._request_timeout_s,
            extra_body={"temperature": 0},
            setting=setting,
        )
        # The client shares the machine with the server; a run that it slowed down is marked.
        measurement_options = MeasurementOptions(allow_client_bound=True)
        measured = measure(server.target, plan, measurement_options, server=server.info)
        problem = _problem(workload, measured)
        if problem is not None:
            server.check_alive()
            hint = f"\nIts output is in {server.log_path}." if server.is_up else ""
            raise ServerError(f"{server.name}, {workload.name}: {problem}{hint}")
        return measured


def _problem(workload: Workload, measured: MeasuredRun) -> str | None:
    """Why the run is not a valid measurement; None if it is."""
    for record in measured.records:
        if record.failure is not None:
            return f"{measured.run.figures.num_failed} requests failed; first error: {record.error}"
        if record.num_output_tokens != workload.output_len:
            return (
                f"{workload.output_len} output tokens were requested, usage reports "
                f"{record.num_output_tokens}"
            )
        prompt_len = workload.prefix_len + workload.prompt_len
        if record.num_prompt_tokens not in (prompt_len, prompt_len + 1):  # some servers add a BOS
            return f"the prompt has {prompt_len} tokens, usage reports {record.num_prompt_tokens}"
    return None
