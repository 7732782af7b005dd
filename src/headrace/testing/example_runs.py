"""Runs in a store, as the run controller leaves them."""

from datetime import datetime
from pathlib import Path

from headrace.control.artifacts.artifact_store import ArtifactStore
from headrace.control.launchers.process import LOG_FILE
from headrace.control.layout import Layout
from headrace.control.operations.runs import create_run
from headrace.control.resources import ProcessHandle, RunState
from headrace.control.store.store import Store

RUN = """\
name: fine-tune
description: Fine-tunes SmolLM2 on one epoch
tags: [nightly, smollm2]
run: |
  python train.py --epochs 1
  tensorboard --port 6006 &
env: {API_TOKEN: a-secret-value}
ports:
- {port: 6006, name: tensorboard}
- {port: 9000, type: tcp}
export:
  /output: artifact://adapter
"""


def add_running_run(store: Store, layout: Layout, now: datetime, *, log: str = "epoch 1\n") -> str:
    """With a process, ports and a log; its id."""
    run_id = create_run(store, RUN, "run.yaml", now).run_id
    folder = layout.runs / run_id
    folder.mkdir(parents=True)
    (folder / LOG_FILE).write_text(log)
    with store.begin() as tx:
        tx.change_run(run_id, RunState.PENDING, RunState.IMPORTING, now, folder=str(folder))
        tx.change_run(
            run_id,
            RunState.IMPORTING,
            RunState.RUNNING,
            now,
            process=ProcessHandle(4242, 1.0),
            host_ports={6006: 45_006, 9000: 45_009},
        )
    return run_id


def complete_run(store: Store, run_id: str, now: datetime) -> None:
    with store.begin() as tx:
        tx.change_run(run_id, RunState.RUNNING, RunState.EXPORTING, now, exit_code=0)
        tx.change_run(run_id, RunState.EXPORTING, RunState.COMPLETED, now)


def add_artifact(layout: Layout, scratch: Path, files: dict[str, bytes]) -> None:
    """The artifact of `RUN`. ``scratch``: an empty folder."""
    for name, content in files.items():
        path = scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    ArtifactStore(layout.artifacts).save("adapter", scratch)
