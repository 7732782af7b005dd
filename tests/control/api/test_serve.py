"""In processes of their own, because signals are sent to them."""

import signal
import subprocess
import sys
import urllib.request

from headrace.control.processes.ports import find_free_port

PROGRAM = """
import asyncio, sys
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from headrace.control.errors import LaunchError
from headrace.control.api.serve import serve

app = FastAPI()
ending = asyncio.Event()

@app.get("/endless")
async def endless():
    async def pieces():
        while not ending.is_set():
            yield b"x"
            await asyncio.sleep(0.01)
    return StreamingResponse(pieces())

async def go_on():
    print("begun", flush=True)
    try:
        await asyncio.sleep(600)
    finally:
        print("cancelled", flush=True)

async def end():
    raise ValueError("worn out")

try:
    loops = {"The loop": go_on(), **({"other": end()} if "--end" in sys.argv else {})}
    asyncio.run(serve(app, int(sys.argv[1]), loops, ending))
except LaunchError as error:
    print(error)
    sys.exit(1)
print("ended well")
"""


def start(port: int, *arguments: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(port), *arguments], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def test_a_signal_ends_loops_and_streams_quietly() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        port = find_free_port()
        with start(port) as process:
            answer = None
            while answer is None:
                try:
                    answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/endless", timeout=30)
                except OSError:
                    assert process.poll() is None
            with answer:
                assert answer.read(3) == b"xxx"
                process.send_signal(number)
                output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert output.splitlines()[0] == "cancelled"
        assert output.splitlines()[-1] == "ended well"
        assert "Traceback" not in output


def test_a_loop_that_ends_by_itself_ends_all() -> None:
    with start(find_free_port(), "--end") as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output.splitlines() == [
        "cancelled", "The other exited unexpectedly: ValueError('worn out')",
    ]  # fmt: skip
