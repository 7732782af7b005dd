"""Fill .venv/clients with the client programs that tests run against a server: LangChain, LiteLLM,
LlamaIndex and lm-eval, at the versions and hashes of requirements/clients.lock.

They are in a virtual environment of their own, since they need other versions of what Headrace
needs. `make clients` runs this; without it, the tests of these programs are skipped.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "clients.lock"
VENV = ROOT / ".venv" / "clients"
STAMP = VENV / "set-up.stamp"


def main() -> int:
    """Returns the exit code."""
    key = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == key:
        return 0
    print(f"Setting up client programs in {VENV}", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    python = VENV / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    # Most of their modules are never imported: compiling all would take longer than the tests.
    install = [*pip, "--no-compile", "--no-deps", "--require-hashes", "--requirement", str(LOCK)]
    for command in ([sys.executable, "-m", "venv", str(VENV)], install):
        if (code := subprocess.run(command, check=False).returncode) != 0:
            print("The client programs could not be installed; see above.", file=sys.stderr)
            return code
    STAMP.write_text(key)
    return 0


if __name__ == "__main__":
    sys.exit(main())
