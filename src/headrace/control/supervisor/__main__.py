"""``python -m headrace.control.supervisor``: the background process of ``headrace up -d``."""

import argparse
from pathlib import Path

from headrace.control.layout import Layout
from headrace.control.supervisor.daemons import Daemons, load_options, suppressing_errors
from headrace.control.supervisor.shutdown import shut_down
from headrace.control.supervisor.supervisor import ExitReason, Supervisor


def main() -> None:
    """Supervise the daemons of ``--home``."""
    parser = argparse.ArgumentParser(prog="python -m headrace.control.supervisor")
    parser.add_argument("--home", type=Path, required=True)
    layout = Layout(parser.parse_args().home)
    options = load_options(layout)
    if options is None:
        parser.error(f"no platform was started in {layout.home}; run `headrace up`")
    daemons = Daemons(layout, options)
    report = suppressing_errors(_report)
    if Supervisor(daemons).run(report) is ExitReason.STOP:
        shut_down(daemons, report)


def _report(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
