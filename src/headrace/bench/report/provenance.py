"""Where the numbers come from: machines, versions, servers, commands; and the caveats."""

from dataclasses import dataclass

from headrace.bench.report.collection import Collection, server_label
from headrace.bench.report.elements import Table
from headrace.bench.report.units import GIBIBYTES, short
from headrace.bench.results.result_file import BenchResult


@dataclass(frozen=True)
class Provenance:
    machines: Table
    servers: Table
    files: Table


def provenance_of(collection: Collection) -> Provenance:
    return Provenance(_machines(collection), _servers(collection), _files(collection))


def caveats_of(collection: Collection) -> list[str]:
    """What a reader must know before relying on the charts."""
    caveats = []
    for entry in collection.entries:
        runs = entry.result.runs
        bound = sum(run.client_bound is not None for run in runs)
        if bound:
            caveats.append(
                f"{entry.path.name}: client may be the bottleneck in {bound} of {len(runs)} runs. "
                + entry.result.client_bound[0]
            )
        if any(run.is_interrupted for run in runs):
            caveats.append(
                f"{entry.path.name}: the run was interrupted; its figures cover the requests that "
                "completed."
            )
        caveats += [f"{entry.path.name}: {run.problem}" for run in runs if run.problem is not None]
        failed = sum(run.figures.num_failed for run in runs)
        if failed:
            total = sum(run.figures.num_requests for run in runs)
            caveats.append(
                f"{entry.path.name}: {failed} of {total} requests failed; its figures exclude them."
            )
        refused = [run.figures.tokens for run in runs if run.figures.tokens.num_refused_usages]
        if refused:
            num_refused = sum(each.num_refused_usages for each in refused)
            caveats.append(
                f"{entry.path.name}: the usage of {num_refused} requests was rejected "
                f"({refused[0].refused_usage}); their tokens are the tokenizer's, or missing."
            )
    if len({_machine_key(entry.result) for entry in collection.entries}) > 1:
        caveats.append("The results are from different machines and not directly comparable.")
    caveats += [f"{skip.path.name} was left out: {skip.reason}" for skip in collection.skipped]
    return caveats


def _machines(collection: Collection) -> Table:
    seen = {_machine_key(entry.result): entry.result for entry in collection.entries}
    rows = []
    for result in seen.values():
        machine = result.machine
        rows.append(
            [
                machine.cpu,
                f"{machine.num_usable_cores or machine.num_cores}",
                f"{short(machine.memory_bytes * GIBIBYTES.factor)} GiB",
                ", ".join(machine.gpus) or "none",
                machine.system,
                ", ".join(f"{name} {version}" for name, version in result.versions.items()),
            ]
        )
    return Table(["CPU", "cores", "memory", "GPUs", "system", "versions"], rows)


def _servers(collection: Collection) -> Table:
    rows = {
        (
            server_label(run),
            run.base_url,
            run.server.model,
            run.server.dtype or "unknown",
            run.server.version or "unknown",
        ): None
        for entry in collection.entries
        for run in entry.result.runs
    }
    header = ["server", "address", "model", "dtype", "version"]
    return Table(header, [list(row) for row in sorted(rows)])


def _files(collection: Collection) -> Table:
    rows = [
        [
            entry.path.name,
            entry.result.written_at,
            "" if entry.result.seed is None else str(entry.result.seed),
            "" if entry.result.machine.load_1min is None else f"{entry.result.machine.load_1min}",
            " ".join(entry.result.command),
        ]
        for entry in collection.entries
    ]
    return Table(["file", "written", "seed", "load average", "command"], rows)


def _machine_key(result: BenchResult) -> tuple[object, ...]:
    machine = result.machine
    return (
        machine.cpu,
        machine.num_usable_cores,
        machine.memory_bytes,
        tuple(machine.gpus),
        machine.system,
        tuple(sorted(result.versions.items())),
    )
