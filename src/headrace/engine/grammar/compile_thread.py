"""The thread on which grammars are checked and compiled: beside the event loop and the steps."""

import threading
from concurrent.futures import ThreadPoolExecutor

from headrace.engine.grammar.limits import COMPILE_STACK_BYTES


def start_compile_thread() -> ThreadPoolExecutor:
    """An executor of one thread, started here because its stack has COMPILE_STACK_BYTES.

    llguidance releases the interpreter lock while it compiles.
    """
    executor = ThreadPoolExecutor(1, "headrace-grammar")
    before = threading.stack_size(COMPILE_STACK_BYTES)
    try:
        executor.submit(int)  # starts the thread
    finally:
        threading.stack_size(before)
    return executor
