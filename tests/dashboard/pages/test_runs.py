"""The pages of runs without a browser: what they contain, and what they refuse."""

import io
import tarfile
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from headrace.control.operations.runs import list_runs, read_run
from headrace.control.resources import RunState
from headrace.testing.example_runs import add_artifact, add_running_run, complete_run
from headrace.testing.processes.control_api import ControlApi


@pytest.fixture
def run_id(api: ControlApi) -> str:
    return add_running_run(api.store, api.layout, api.context.now())


def test_a_run_is_shown_without_the_values_of_its_secrets(viewer: TestClient, run_id: str) -> None:
    page = viewer.get(f"/dashboard/runs/{run_id}").text
    assert "fine-tune" in page
    assert 'href="http://127.0.0.1:45006/"' in page
    assert 'href="http://127.0.0.1:45009/"' not in page  # tcp
    assert "API_TOKEN" in page
    assert "a-secret-value" not in page


def test_a_run_is_created_checked_and_reproduced(api: ControlApi, admin: TestClient) -> None:
    manifest = {"manifest": "name: first\nrun: echo hello\n"}
    checked = admin.post("/dashboard/runs", data={**manifest, "action": "check"})
    assert "The manifest is valid." in checked.text
    assert list_runs(api.store) == []
    created = admin.post("/dashboard/runs", data={**manifest, "action": "create"})
    run = list_runs(api.store)[0]
    assert created.url.path == f"/dashboard/runs/{run.run_id}"
    assert f"Created run {run.run_id}." in created.text
    again = admin.post(f"/dashboard/runs/{run.run_id}/reproduce")
    assert f"which reproduces {run.run_id}." in again.text
    assert [one.name for one in list_runs(api.store)] == ["first", "first"]
    assert api.num_wakes == 2


def test_a_run_is_terminated_and_then_deleted(
    api: ControlApi, admin: TestClient, run_id: str
) -> None:
    response = admin.post(f"/dashboard/runs/{run_id}/delete")
    assert response.status_code == 409
    assert "Terminate it first" in response.text
    admin.post(f"/dashboard/runs/{run_id}/terminate")
    assert read_run(api.store, run_id).state is RunState.TERMINATING
    with api.store.begin() as tx:
        now = api.context.now()
        tx.change_run(run_id, RunState.TERMINATING, RunState.TERMINATED, now)
    response = admin.post(f"/dashboard/runs/{run_id}/delete")
    assert response.url.path == "/dashboard/runs"
    assert list_runs(api.store) == []
    assert not (api.layout.runs / run_id).exists()


def test_artifacts_are_downloaded_as_files_and_as_an_archive(
    api: ControlApi, viewer: TestClient, run_id: str, tmp_path: Path
) -> None:
    address = f"/dashboard/runs/{run_id}/artifacts"
    assert "not stored yet" in viewer.get(f"/dashboard/runs/{run_id}").text
    assert viewer.get(f"{address}/1/archive").status_code == 404
    add_artifact(
        api.layout, tmp_path / "scratch", {"a/adapter.bin": b"weights", "log.html": b"<b>"}
    )
    page = viewer.get(f"/dashboard/runs/{run_id}").text
    assert "a/adapter.bin" in page
    assert "7 B" in page
    file = viewer.get(f"{address}/1/file", params={"path": "a/adapter.bin"})
    assert file.content == b"weights"
    html = viewer.get(f"{address}/1/file", params={"path": "log.html"})
    assert html.headers["content-type"] == "application/octet-stream"
    assert html.headers["content-disposition"].startswith("attachment")
    archive = viewer.get(f"{address}/1/archive")
    assert archive.headers["content-disposition"] == 'attachment; filename="adapter.tar"'
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as tar:
        assert sorted(tar.getnames()) == ["a", "a/adapter.bin", "log.html"]


@pytest.mark.parametrize("path", ["../../state.db", "/etc/passwd", "", "a", "nothing"])
def test_only_files_of_the_artifact_are_downloaded(
    api: ControlApi, viewer: TestClient, run_id: str, tmp_path: Path, path: str
) -> None:
    add_artifact(api.layout, tmp_path / "scratch", {"a/adapter.bin": b"weights"})
    address = f"/dashboard/runs/{run_id}/artifacts"
    assert viewer.get(f"{address}/1/file", params={"path": path}).status_code == 404
    assert viewer.get(f"{address}/2/archive").status_code == 404


def test_lists_have_pages(api: ControlApi, viewer: TestClient) -> None:
    ids = [add_running_run(api.store, api.layout, api.context.now()) for _ in range(51)]
    first = viewer.get("/dashboard/runs").text
    assert sum(f'id="run-{run_id}"' in first for run_id in ids) == 50
    oldest = next(run_id for run_id in ids if f'id="run-{run_id}"' not in first)
    last = next(run_id for run_id in ids if f"before={run_id}" in first)
    second = viewer.get("/dashboard/runs", params={"before": last}).text
    assert f'id="run-{oldest}"' in second


def test_a_viewer_changes_no_run(api: ControlApi, viewer: TestClient, run_id: str) -> None:
    page = viewer.get(f"/dashboard/runs/{run_id}").text
    for action in ("terminate", "reproduce", "delete"):
        assert f"/{action}" not in page
        assert viewer.post(f"/dashboard/runs/{run_id}/{action}").status_code == 403
    assert viewer.post("/dashboard/runs", data={"manifest": "run: x"}).status_code == 403
    complete_run(api.store, run_id, api.context.now())
    assert viewer.post(f"/dashboard/runs/{run_id}/delete").status_code == 403


def test_a_run_that_does_not_exist_is_not_found(viewer: TestClient) -> None:
    for path in ("", "/log", "/artifacts/1/archive"):
        assert viewer.get(f"/dashboard/runs/123{path}").status_code == 404
