"""``python -m headrace.dashboard``: the control plane's process, with its dashboard."""

import sys

from headrace.control.__main__ import main
from headrace.dashboard.app import add_dashboard

if __name__ == "__main__":
    sys.exit(main(add_dashboard))
