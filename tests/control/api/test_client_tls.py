"""The client over HTTPS: with the pinned certificate, and with a private authority."""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from headrace.control.client import ControlClient, Credentials, find_credentials
from headrace.control.errors import CertificateError, ControlApiError
from headrace.control.layout import Layout
from headrace.control.pinned_certificate import first_certificate, trusting_only
from headrace.listen.tls import TlsFiles
from headrace.testing.certificates import write_certificate
from headrace.testing.processes.control_api import ControlApi


def write_foreign_chain(folder: Path) -> TlsFiles:
    """A chain for box.example, signed by an unknown authority."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    server_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("an authority", authority_key, "an authority", authority_key, True)
    server = _certificate("box.example", server_key, "an authority", authority_key, False)
    files = TlsFiles(folder / "chain.pem", folder / "chain.key")
    pem = serialization.Encoding.PEM
    files.certfile.write_bytes(
        b"# a comment\n" + server.public_bytes(pem) + authority.public_bytes(pem)
    )
    files.keyfile.write_bytes(
        server_key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    is_authority: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


@pytest.fixture(params=["made for localhost", "made for another name"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> TlsFiles:
    if request.param == "made for localhost":
        return write_certificate(tmp_path)
    return write_foreign_chain(tmp_path)


@pytest.fixture
def url(api: ControlApi, files: TlsFiles) -> Iterator[str]:
    with api.serving(files) as url:
        assert url.startswith("https://")
        yield url


def test_the_local_credentials_are_enough(
    api: ControlApi, files: TlsFiles, url: str, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "home")
    layout.make()
    kept = {"url": url, "token": api.admin_token, "certificate": first_certificate(files.certfile)}
    layout.credentials.write_text(json.dumps(kept))
    with ControlClient(find_credentials(layout, {})) as client:
        assert client.services() == []


def test_another_certificate_is_not_trusted(api: ControlApi, url: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = first_certificate(write_certificate(tmp_path / "other").certfile)
    with (
        ControlClient(Credentials(url, api.admin_token, other)) as client,
        pytest.raises(ControlApiError) as refused,
    ):
        client.services()
    assert refused.value.code == "untrusted_certificate"


def test_a_private_authority_is_set_in_the_environment(
    api: ControlApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_certificate(tmp_path)
    with api.serving(files) as url:
        credentials = Credentials(url, api.admin_token)
        with (
            ControlClient(credentials) as client,
            pytest.raises(ControlApiError, match="SSL_CERT_FILE") as refused,
        ):
            client.services()
        assert refused.value.code == "untrusted_certificate"
        monkeypatch.setenv("SSL_CERT_FILE", str(files.certfile))
        with ControlClient(credentials) as client:
            assert client.services() == []


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\n", "nonsense"])
def test_a_broken_certificate_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "cert.pem").write_text(text)
    with pytest.raises(CertificateError):
        first_certificate(tmp_path / "cert.pem")
    with pytest.raises(CertificateError):
        trusting_only(text)
    with pytest.raises(CertificateError):
        first_certificate(tmp_path / "nowhere.pem")
