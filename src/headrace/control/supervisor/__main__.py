"""The supervisor as a process of its own: what ``headrace up -d`` leaves behind."""

import argparse
from pathlib import Path

from headrace.control.layout import Layout
from headrace.control.supervisor.daemons import Platform, load_options, unfailing
from headrace.control.supervisor.shutdown import shut_down
from headrace.control.supervisor.supervisor import Ending, Supervisor


def main() -> None:
    """Watch the platform of ``--home``."""
    parser = argparse.ArgumentParser(prog="python -m headrace.control.supervisor")
    parser.add_argument("--home", type=Path, required=True)
    layout = Layout(parser.parse_args().home)
    options = load_options(layout)
    if options is None:
        parser.error(f"nothing was started in {layout.home}; use `headrace up`")
    platform = Platform(layout, options)
    say = unfailing(_say)
    if Supervisor(platform).run(say) is Ending.STOP:
        shut_down(platform, say)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
