"""Runs pip and dies when the parent's end of stdin closes, so that no pip outlives its parent.

Started as a script, so it imports nothing of Headrace.
"""

import importlib.util
import os
import runpy
import sys
import threading


def main() -> None:
    if importlib.util.find_spec("pip") is None:
        sys.exit("No module named pip")
    threading.Thread(target=_die_with_parent, daemon=True).start()
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


def _die_with_parent() -> None:
    # os.read and not sys.stdin: a thread that waits inside sys.stdin breaks interpreter exit.
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
