"""What the package serves to browsers."""

from importlib.resources import files

from starlette.testclient import TestClient

STATIC = files("headrace.dashboard") / "static"


def test_vendored_files_have_their_licences() -> None:
    vendored = [folder for folder in (STATIC / "vendor").iterdir() if folder.is_dir()]
    listed = (STATIC / "vendor" / "README.md").read_text()
    assert vendored
    for folder in vendored:
        assert (folder / "LICENSE").is_file()
        assert f"`{folder.name}/`" in listed


def test_every_file_that_a_page_names_is_served(admin: TestClient) -> None:
    for path in (
        "dashboard.css",
        "dashboard.js",
        "charts.js",
        "live.js",
        "log.js",
        "traffic.js",
        "icon.svg",
        "vendor/htmx/htmx.min.js",
        "vendor/uplot/uPlot.iife.min.js",
        "vendor/uplot/uPlot.min.css",
    ):
        response = admin.get(f"/dashboard/static/{path}")
        assert response.status_code == 200
        expected = {"css": "text/css", "js": "javascript", "svg": "image/svg+xml"}
        assert expected[path.rpartition(".")[2]] in response.headers["content-type"]


def test_scripts_send_no_request_to_other_hosts() -> None:
    for name in ("dashboard.js", "charts.js", "live.js", "log.js", "traffic.js", "dashboard.css"):
        text = (STATIC / name).read_text()
        assert "http:" not in text
        assert "https:" not in text
        assert "eval(" not in text
