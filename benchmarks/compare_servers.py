"""Measure servers against each other on one machine, in one run, in interleaved pairs.

Knows only the OpenAI API: any server may be a side. Run by hand; README.md says how.
"""

import argparse
import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import uvloop
from client import BadReplyError, Reply, run_requests
from cpu_use import CpuMeter
from figures import figures_of
from machine import describe_code, describe_machine
from report import Runs, ratios, table
from servers import Server, ServerError, say
from workloads import FIRST_TOKEN_ID, WARM_UPS, WORKLOADS, Workload


@dataclass(frozen=True)
class Options:
    servers: tuple[str, ...]
    """Each as name=command or name=http://host:port; the first is compared with each other."""
    model: str | None
    workloads: tuple[Workload, ...]
    num_pairs: int
    output: Path
    restart: bool
    vocab_size: int
    seed: int
    start_timeout_s: float
    run_timeout_s: float


class Comparison:
    """Runs all pairs and keeps what they gave."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._servers = [_parse_server(text, options.output) for text in options.servers]
        names = [server.name for server in self._servers]
        if len(set(names)) < len(names):
            raise ServerError(f"each server needs a name of its own, not {', '.join(names)}")
        self._runs: list[dict[str, Any]] = []
        self._began = datetime.now(UTC)
        self._machine = describe_machine()
        self._code = describe_code()
        self._is_complete = False

    async def run(self) -> None:
        """All pairs. At the end, and when something fails, no server that it started is left.

        Pairs are the outer loop, so that a machine that grows slower in the meantime does so for
        all workloads; within a pair the servers take turns at one workload, so that the two
        figures of a ratio lie as near in time as they can.
        """
        options = self._options
        options.output.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not options.restart:
                for server in self._servers:
                    await self._start(server)
            for pair in range(options.num_pairs):
                for workload in options.workloads:
                    for server in self._servers:
                        if options.restart:
                            await self._start(server)
                        await self._measure(pair, workload, server)
                        if options.restart:
                            server.stop()
            self._is_complete = True
        finally:
            for server in self._servers:
                server.stop()
            self._save()

    def tables(self) -> str:
        """One for each workload that has a run, or nothing."""
        return "\n\n".join(
            table(workload, runs)
            for workload in self._options.workloads
            if any((runs := self._runs_of(workload)).values())
        )

    async def _start(self, server: Server) -> None:
        await server.start(self._options.start_timeout_s)
        for workload in WARM_UPS:
            # As many warm-ups as starts, each with prompts of its own: none is in a cache.
            seed = f"{self._options.seed}/{len(server.start_s)}"
            await self._send(workload, self._bodies(workload, seed, server), server)

    async def _measure(self, pair: int, workload: Workload, server: Server) -> None:
        server.check_alive()
        # A new seed each pair, the same for all servers: no cache helps from pair to pair.
        bodies = self._bodies(workload, f"{self._options.seed}/{pair}", server)
        meter = CpuMeter(self._servers)
        replies = await self._send(workload, bodies, server)
        cpu_use = meter.read(server)
        run: dict[str, Any] = {
            "pair": pair + 1,
            "workload": workload.name,
            "server": server.name,
            "figures": figures_of(replies),
            "cores_busy": asdict(cpu_use),
            "warnings": cpu_use.warnings,
            "rss_bytes": server.rss_bytes() if server.is_up else None,
            "load": os.getloadavg(),
            "requests": [_request(reply) for reply in replies],
        }
        self._runs.append(run)
        self._save()
        say(
            f"pair {pair + 1}/{self._options.num_pairs}  {workload.name}  {server.name}: "
            f"{run['figures']['output_tokens_per_s']:.1f} tokens/s "
            f"in {run['figures']['duration_s']:.1f} s; {cpu_use}"
        )
        for warning in cpu_use.warnings:
            say(f"  note: {warning}")

    async def _send(self, workload: Workload, bodies: list[bytes], server: Server) -> list[Reply]:
        try:
            async with asyncio.timeout(self._options.run_timeout_s):
                replies = await run_requests(server.address, bodies, workload.concurrency)
            for reply in replies:
                _check_counts(workload, reply)
        except TimeoutError:
            server.check_alive()
            raise BadReplyError(
                f"{server.name}, {workload.name}: not done in {self._options.run_timeout_s:g} s "
                "(--run-timeout gives it more)"
            ) from None
        except BadReplyError as error:
            server.check_alive()
            hint = f"\nWhat it printed is in {server.log_path}." if server.is_up else ""
            raise BadReplyError(f"{server.name}, {workload.name}: {error}{hint}") from error
        return replies

    def _bodies(self, workload: Workload, seed: str, server: Server) -> list[bytes]:
        return [
            orjson.dumps(
                {
                    "model": self._options.model or server.model,
                    "prompt": prompt,
                    "max_tokens": workload.output_len,
                    "temperature": 0,
                    "ignore_eos": True,
                    "stream": True,
                    "stream_options": {"include_usage": True},
                }
            )
            for prompt in workload.prompts(seed, self._options.vocab_size)
        ]

    def _runs_of(self, workload: Workload) -> Runs:
        runs: Runs = {server.name: [] for server in self._servers}
        for run in self._runs:
            if run["workload"] == workload.name:
                runs[run["server"]].append(run["figures"])
        return runs

    def _save(self) -> None:
        if not self._runs:  # a run that fails early keeps the file from before
            return
        options = self._options
        result = {
            "is_complete": self._is_complete,
            "began": self._began.isoformat(timespec="seconds"),
            "took_s": (datetime.now(UTC) - self._began).total_seconds(),
            "command": shlex.join(sys.argv),
            "restart": options.restart,
            "seed": options.seed,
            "vocab_size": options.vocab_size,
            "machine": self._machine,
            "client": self._code,
            "servers": [
                {
                    "name": server.name,
                    "target": server.target,
                    "model": options.model or server.model,
                    "version": server.version,
                    "start_s": server.start_s,
                }
                for server in self._servers
            ],
            "workloads": [
                {
                    "name": workload.name,
                    "description": workload.description,
                    "ratios": [
                        ratio.to_dict()
                        for ratio in ratios(self._runs_of(workload), workload.figures)
                    ],
                }
                for workload in options.workloads
            ],
            "runs": self._runs,
        }
        # Beside it first, so that who interrupts this keeps the file from before.
        beside = options.output.with_name(options.output.name + ".new")
        beside.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
        beside.replace(options.output)


def _check_counts(workload: Workload, reply: Reply) -> None:
    if reply.num_output_tokens != workload.output_len:
        raise BadReplyError(
            f"{workload.output_len} output tokens were asked for, usage says "
            f"{reply.num_output_tokens}"
        )
    prompt_len = workload.prefix_len + workload.prompt_len
    if reply.num_prompt_tokens not in (prompt_len, prompt_len + 1):  # some servers add a BOS
        raise BadReplyError(
            f"the prompt had {prompt_len} tokens, usage says {reply.num_prompt_tokens}"
        )


def _request(reply: Reply) -> dict[str, Any]:
    return {
        "ttft_ms": (reply.token_times_s[0] - reply.sent_s) * 1000,
        "e2e_ms": (reply.ended_s - reply.sent_s) * 1000,
        "num_prompt_tokens": reply.num_prompt_tokens,
        "num_output_tokens": reply.num_output_tokens,
        "num_cached_tokens": reply.num_cached_tokens,
        "num_token_events": len(reply.token_times_s),
    }


def _parse_server(text: str, output: Path) -> Server:
    name, is_named, target = text.partition("=")
    if not is_named or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise ServerError(f"--server takes name=command or name=http://host:port, not {text!r}")
    return Server(name, target.strip(), output.with_name(f"{output.stem}.{name}.log"))


def _parse(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--server",
        action="append",
        required=True,
        metavar="NAME=TARGET",
        help="a command with {port} in it, or http://host:port; give it once for each server, "
        "the first is compared with each other",
    )
    parser.add_argument("--model", help="its name in requests (default: first of /v1/models)")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="default: %(default)s")
    parser.add_argument("--pairs", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=Path("results/compare.json"))
    parser.add_argument(
        "--restart",
        action="store_true",
        help="start each server anew for each run, and have no other up meanwhile",
    )
    parser.add_argument("--vocab-size", type=int, default=49152, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="give another to draw other prompts")
    parser.add_argument("--start-timeout", type=float, default=600.0, metavar="S")
    parser.add_argument("--run-timeout", type=float, default=900.0, metavar="S")
    values = parser.parse_args(arguments)
    names = values.workloads.split(",")
    if unknown := [name for name in names if name not in WORKLOADS]:
        parser.error(f"no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    if values.pairs < 1:
        parser.error("--pairs must be 1 or more")
    if values.vocab_size <= FIRST_TOKEN_ID:
        parser.error(f"--vocab-size must be above {FIRST_TOKEN_ID}")
    if values.restart and any("=http://" in text for text in values.server):
        parser.error("--restart needs commands: a server that runs already cannot be restarted")
    return Options(
        servers=tuple(values.server),
        model=values.model,
        workloads=tuple(WORKLOADS[name] for name in names),
        num_pairs=values.pairs,
        output=values.output,
        restart=values.restart,
        vocab_size=values.vocab_size,
        seed=values.seed,
        start_timeout_s=values.start_timeout,
        run_timeout_s=values.run_timeout,
    )


async def _run(comparison: Comparison) -> None:
    """Run it; a signal cancels it, so that its servers are stopped on that way too."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await comparison.run()


def main() -> int:
    options = _parse(sys.argv[1:])
    problem = ""
    comparison = None
    try:
        comparison = Comparison(options)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(comparison))
    except (ServerError, BadReplyError) as error:
        problem = f"failed: {error}"
    except (asyncio.CancelledError, KeyboardInterrupt):
        problem = "interrupted"
    if comparison is not None and (tables := comparison.tables()):
        print(f"\n{tables}\n")
        say(f"All figures are in {options.output}.")
    if problem:
        say(problem)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
