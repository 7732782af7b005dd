"""Sign-in, sessions and what they protect, through the application."""

import re

import pytest
from starlette.testclient import TestClient

from headrace.control.operations.tokens import remove_token
from headrace.dashboard.access.attempts import MAX_NUM_FAILURES
from headrace.testing.processes.control_api import ControlApi

CSRF = re.compile(r'name="csrf_token" value="(\w+)"')


def sign_in(client: TestClient, token: str, **fields: str) -> int:
    response = client.post(
        "/dashboard/sign-in", data={"token": token, **fields}, follow_redirects=False
    )
    return response.status_code


def test_the_address_of_the_control_plane_leads_to_the_sign_in_page(api: ControlApi) -> None:
    page = api.client(None).get("/")
    assert page.status_code == 200
    assert page.url.path == "/dashboard/sign-in"
    assert 'name="token"' in page.text


def test_a_token_opens_a_session_with_its_role(api: ControlApi) -> None:
    for token, role in ((api.admin_token, "admin"), (api.viewer_token, "viewer")):
        client = api.client(None)
        assert sign_in(client, token) == 303
        assert f"({role})" in client.get("/dashboard/services").text


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(api: ControlApi) -> None:
    response = api.client(None).post(
        "/dashboard/sign-in", data={"token": api.admin_token}, follow_redirects=False
    )
    cookie = response.headers["set-cookie"]
    for attribute in ("HttpOnly", "SameSite=strict", "Path=/dashboard", "Max-Age=43200"):
        assert attribute in cookie
    assert "Secure" not in cookie
    assert api.admin_token not in cookie


def test_the_cookie_is_secure_under_tls(api: ControlApi) -> None:
    client = api.client(None)
    client.base_url = "https://127.0.0.1"
    response = client.post(
        "/dashboard/sign-in", data={"token": api.admin_token}, follow_redirects=False
    )
    assert "Secure" in response.headers["set-cookie"]


def test_an_invalid_token_is_refused(api: ControlApi) -> None:
    client = api.client(None)
    for token in ("hrt_wrong", "", "\N{SNOWMAN}"):
        response = client.post("/dashboard/sign-in", data={"token": token})
        assert response.status_code == 401
        assert "set-cookie" not in response.headers
        assert "hrt_wrong" not in response.text


def test_attempts_are_limited(api: ControlApi) -> None:
    client = api.client(None)
    for _ in range(MAX_NUM_FAILURES):
        assert sign_in(client, "hrt_wrong") == 401
    response = client.post("/dashboard/sign-in", data={"token": api.admin_token})
    assert response.status_code == 429
    assert 0 < int(response.headers["retry-after"]) <= 60


def test_sign_in_leads_back_to_the_page(api: ControlApi) -> None:
    client = api.client(None)
    form = client.get("/dashboard/services?x=1")
    assert form.url.params["next"] == "/dashboard/services?x=1"
    response = client.post(
        "/dashboard/sign-in",
        data={"token": api.admin_token, "next": "/dashboard/services?x=1"},
        follow_redirects=False,
    )
    assert response.headers["location"] == "/dashboard/services?x=1"


@pytest.mark.parametrize(
    "address", ["https://example.com/", "//example.com/", "/v1/services", "/dashboard/\\x", "x"]
)
def test_sign_in_leads_to_no_other_site(api: ControlApi, address: str) -> None:
    response = api.client(None).post(
        "/dashboard/sign-in",
        data={"token": api.admin_token, "next": address},
        follow_redirects=False,
    )
    assert response.headers["location"] == "/dashboard/"


def test_a_session_ends_with_its_token(api: ControlApi, viewer: TestClient) -> None:
    assert viewer.get("/dashboard/services").url.path == "/dashboard/services"
    remove_token(api.store, "viewer", api.context.now())
    assert viewer.get("/dashboard/services").url.path == "/dashboard/sign-in"


def test_sign_out_closes_the_session(viewer: TestClient) -> None:
    cookies = dict(viewer.cookies)
    assert viewer.post("/dashboard/sign-out").url.path == "/dashboard/sign-in"
    assert not viewer.cookies
    viewer.cookies.update(cookies)
    assert viewer.get("/dashboard/services").url.path == "/dashboard/sign-in"


def test_pages_need_a_session(api: ControlApi) -> None:
    client = api.client(api.admin_token)  # the header of the API does not sign in
    assert client.get("/dashboard/services", follow_redirects=False).status_code == 303
    response = client.post("/dashboard/services", data={"name": "svc"}, follow_redirects=False)
    assert response.headers["location"] == "/dashboard/sign-in"
    response = client.get("/dashboard/services", headers={"HX-Request": "true"})
    assert response.status_code == 401
    assert response.headers["hx-redirect"] == "/dashboard/sign-in"


def test_changes_need_the_csrf_token(api: ControlApi, admin: TestClient) -> None:
    token = admin.headers.pop("X-CSRF-Token")
    other = CSRF.search(api.browser(api.admin_token).get("/dashboard/services").text)
    assert other is not None
    for fields in ({}, {"csrf_token": "x"}, {"csrf_token": "\u2603"}, {"csrf_token": other[1]}):
        response = admin.post("/dashboard/services", data={"name": "svc", **fields})
        assert response.status_code == 403
    assert admin.post("/dashboard/sign-out").status_code == 403
    response = admin.post("/dashboard/services", data={"name": "svc", "csrf_token": token})
    assert response.status_code == 200
    assert "Created service svc." in response.text


def test_a_viewer_changes_nothing(viewer: TestClient) -> None:
    page = viewer.get("/dashboard/services")
    assert 'action="/dashboard/services"' not in page.text
    response = viewer.post("/dashboard/services", data={"name": "svc"})
    assert response.status_code == 403
    assert "read-only" in response.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:3000"}, 403),
        ({"Origin": "http://127.0.0.1:3000"}, 403),
        ({"Origin": "http://example.com"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1"}, 303),
        ({"Sec-Fetch-Site": "none"}, 303),
        ({"Origin": "http://127.0.0.1"}, 303),
    ],
)
def test_other_sites_and_ports_sign_no_one_in(
    api: ControlApi, headers: dict[str, str], status: int
) -> None:
    response = api.client(None).post(
        "/dashboard/sign-in",
        data={"token": api.admin_token},
        headers=headers,
        follow_redirects=False,
    )
    assert response.status_code == status


def test_foreign_hosts_are_refused(api: ControlApi) -> None:
    response = api.client(None).get("/dashboard/sign-in", headers={"Host": "example.com"})
    assert response.status_code == 421


def test_a_one_time_link_signs_in_with_the_role_of_its_token(api: ControlApi) -> None:
    link = api.client(api.viewer_token).post("/v1/dashboard/links").json()
    assert link["expires_in_s"] == 120
    client = api.client(None)
    page = client.get(link["path"])
    assert page.status_code == 200
    assert 'http-equiv="refresh"' in page.text
    assert "(viewer)" in client.get("/dashboard/services").text
    again = api.client(None)
    assert again.get(link["path"]).status_code == 401
    assert again.get("/dashboard/services").url.path == "/dashboard/sign-in"


def test_one_time_links_need_a_token(api: ControlApi) -> None:
    for client in (api.client(None), api.client("hrt_wrong")):
        response = client.post("/v1/dashboard/links")
        assert response.status_code == 401
        assert response.json()["error"]["type"] == "unauthorized"


def test_responses_have_the_security_headers(api: ControlApi) -> None:
    client = api.client(None)
    for path in ("/dashboard/sign-in", "/dashboard/static/dashboard.css", "/dashboard/nowhere"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert client.get("/dashboard/sign-in").headers["cache-control"] == "no-store"
    assert client.get("/dashboard/static/dashboard.css").headers["cache-control"] == "no-cache"


def test_pages_contain_no_inline_script_or_style(admin: TestClient) -> None:
    for path in ("/dashboard/services", "/dashboard/sign-in", "/dashboard/nowhere"):
        text = admin.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)


def test_unknown_pages_are_pages(admin: TestClient) -> None:
    response = admin.get("/dashboard/nowhere")
    assert response.status_code == 404
    assert "<h1>Not found</h1>" in response.text


@pytest.mark.parametrize(
    "content",
    [
        b"token=\xff",
        b"token=%ff",
        b"&".join(b"a%d=1" % number for number in range(2000)),
    ],
)
def test_an_invalid_form_is_refused(api: ControlApi, content: bytes) -> None:
    response = api.client(None).post(
        "/dashboard/sign-in",
        content=content,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert response.status_code == 400
    assert "The form is invalid." in response.text


def test_other_bodies_are_no_forms(api: ControlApi, admin: TestClient) -> None:
    response = api.client(None).post("/dashboard/sign-in", json={"token": api.admin_token})
    assert response.status_code == 401
    assert admin.post("/dashboard/services", json={"name": "svc"}).status_code == 422


def test_odd_texts_are_no_internal_errors(admin: TestClient) -> None:
    admin.post("/dashboard/services", data={"name": "svc"})
    for text in ("\0", "a\0b", "\ufffe", "{{ 7 * 7000 }}", "- [", "x" * 100_000, "&a [*a]"):
        for path in ("", "/svc/revisions", "/svc/traffic"):
            response = admin.post(
                f"/dashboard/services{path}", data={"name": text, "manifest": text}
            )
            assert response.status_code == 422, (path, text[:10])
            assert "49000" not in response.text
    for path in ("/%00", "/svc/replicas/%00", "/svc/replicas?before=%00", "/svc/replicas/%00/log"):
        assert admin.get(f"/dashboard/services{path}").status_code == 404
