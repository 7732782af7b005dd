"""Runs compiled code's own functions in Python, one access to shared memory at a time, in every
order in which several threads can take their steps.

The functions' sources are made into generators that yield each access. ``explore`` runs them
through all interleavings and raises FaultError for the first in which something is wrong. It is a
fault too if two threads are about to access one word, one of them writes, and not both accesses
are atomics. Where there is no such data race, and all atomics are sequentially consistent, a real
processor gives what one of the interleavings gives: so the search is complete.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Access = tuple[Any, ...]
"""(kind, address) or (kind, address, value)."""
Thread = Generator[Access, Any, Any]

_ACCESSES = {
    "atomic_load": "load",
    "atomic_store": "store",
    "fetch_add": "add",
    "load_i64": "read",
    "store_i64": "write",
}
_ATOMIC = {"load", "store", "add"}
_WRITING = {"store", "add", "write"}
_WAITS = {"sched_yield", "usleep"}
"""Calls that only pass time."""
_PURE = {"range"}
_COUNTERS = {"spins"}
"""Variables that only count a thread's waiting time, and are not part of its state."""


class FaultError(AssertionError):
    """A failure, and the order of steps that led to it."""


def as_threads(
    functions: Mapping[str, Any], call_kernel: Callable[..., Thread], namespace: Mapping[str, Any]
) -> dict[str, Callable[..., Thread]]:
    """Each function as a generator function of the same name; they may call each other.

    functions: Numba's or plain ones. call_kernel: what becomes of a call of it.
    namespace: the globals that the functions read.
    """
    scope: dict[str, Any] = {**namespace, "call_kernel": call_kernel}
    threads = {}
    for name, function in functions.items():
        source = textwrap.dedent(inspect.getsource(getattr(function, "py_func", function)))
        tree = ast.parse(source)
        definition = tree.body[0]
        assert isinstance(definition, ast.FunctionDef)
        definition.name = name
        definition.decorator_list = []
        _Steps({*functions, "call_kernel"}).visit(definition)
        exec(compile(ast.fix_missing_locations(tree), f"<{name}>", "exec"), scope)
        threads[name] = scope[name]
    return threads


class _Steps(ast.NodeTransformer):
    """Turns calls that access shared memory into yields, and stores their results in variables,
    which are part of the thread's visible state."""

    def __init__(self, functions: set[str]) -> None:
        self._functions = functions
        self._num_results = 0

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        assert isinstance(node.func, ast.Name)
        name = node.func.id
        if name in _WAITS:
            return ast.Constant(None)
        if name in _PURE:
            return node
        result: ast.expr
        if name in _ACCESSES:
            result = ast.Yield(ast.Tuple([ast.Constant(_ACCESSES[name]), *node.args], ast.Load()))
        elif name in self._functions:
            result = ast.YieldFrom(node)
        else:
            raise AssertionError(f"{name} is called, but the search does not support it")
        self._num_results += 1
        return ast.NamedExpr(ast.Name(f"result{self._num_results}", ast.Store()), result)


@dataclass(frozen=True)
class Explored:
    num_states: int
    num_ends: int


def explore(
    make_threads: Callable[[], Sequence[Thread]], check_end: Callable[[Mapping[Any, int]], None]
) -> Explored:
    """Run through all interleavings of the threads, from memory that is 0 everywhere.

    check_end: asserts what must hold when all have ended, given the memory.
    """
    seen: set[Hashable] = set()
    num_ends = 0
    open_schedules: list[tuple[int, ...]] = [()]
    while open_schedules:
        schedule = open_schedules.pop()
        run = _Run(make_threads())
        for index in schedule:
            run.step(index)
        while (state := run.state()) not in seen:
            seen.add(state)
            ready = run.ready()
            if not ready:
                run.check(check_end)
                num_ends += 1
                break
            run.check_races()
            open_schedules += [(*schedule, other) for other in ready[1:]]
            schedule = (*schedule, ready[0])
            run.step(ready[0])
            if len(ready) == 1 and run.state() == state:
                raise FaultError(f"waits forever: {run.describe()}")
    return Explored(len(seen), num_ends)


class _Run:
    """One interleaving."""

    def __init__(self, threads: Sequence[Thread]) -> None:
        self._threads = threads
        self._memory: dict[Any, int] = {}
        self._history: list[tuple[int, Access]] = []
        self._next: list[Access | None] = []
        for index in range(len(threads)):
            self._next.append(None)
            self._resume(index, None)

    def ready(self) -> list[int]:
        return [index for index, access in enumerate(self._next) if access is not None]

    def step(self, index: int) -> None:
        access = self._next[index]
        assert access is not None
        self._history.append((index, access))
        kind, address, *value = access
        old = self._memory.get(address, 0)
        if kind in ("store", "write"):
            self._memory[address] = value[0]
        elif kind == "add":
            self._memory[address] = old + value[0]
        self._resume(index, old)

    def _resume(self, index: int, result: int | None) -> None:
        try:
            self._next[index] = self._threads[index].send(result)
        except StopIteration:
            self._next[index] = None
        except AssertionError as error:
            raise FaultError(f"{error}: {self.describe()}") from error

    def check(self, check_end: Callable[[Mapping[Any, int]], None]) -> None:
        try:
            check_end(self._memory)
        except AssertionError as error:
            raise FaultError(f"{error}: {self.describe()}") from error

    def check_races(self) -> None:
        by_address: dict[Any, list[str]] = {}
        for access in self._next:
            if access is not None:
                by_address.setdefault(access[1], []).append(access[0])
        for address, kinds in by_address.items():
            if len(kinds) > 1 and _WRITING & {*kinds} and {*kinds} - _ATOMIC:
                raise FaultError(f"data race at {address}: {self.describe()}")

    def state(self) -> Hashable:
        threads = tuple(_state_of(thread) for thread in self._threads)
        return threads, frozenset(self._memory.items())

    def describe(self) -> str:
        return "\n".join(["", *(f"{index}: {access}" for index, access in self._history)])


def _state_of(thread: Any) -> Hashable:
    """The position and variables of every frame."""
    frames = []
    while thread is not None and thread.gi_frame is not None:
        frame = thread.gi_frame
        values = frame.f_locals
        own = (name for name in frame.f_code.co_varnames if name not in _COUNTERS)
        frames.append((frame.f_lasti, tuple(values.get(name) for name in own)))
        thread = thread.gi_yieldfrom
    return tuple(frames)
