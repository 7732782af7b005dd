"""Certificates and keys for a listening socket."""

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from headrace.core.errors import HeadraceError
from headrace.listen.tls import TlsFiles, tls_files
from headrace.testing.certificates import write_certificate


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return write_certificate(tmp_path)


def test_a_certificate_and_its_key_make_a_context(files: TlsFiles) -> None:
    context = files.server_context()
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE  # of clients


@pytest.mark.parametrize("given", [("cert.pem", None), (None, "key.pem")])
def test_one_file_without_the_other_is_refused(given: tuple[str | None, str | None]) -> None:
    with pytest.raises(HeadraceError, match="--ssl-certfile and --ssl-keyfile"):
        tls_files(*given)
    assert tls_files(None, None) is None


@pytest.mark.parametrize("missing", ["certfile", "keyfile"])
def test_a_file_that_cannot_be_read_is_named(files: TlsFiles, missing: str) -> None:
    path: Path = getattr(files, missing)
    path.unlink()
    with pytest.raises(HeadraceError, match=f"--ssl-{missing} {path}"):
        files.server_context()
    path.mkdir()
    with pytest.raises(HeadraceError, match=f"--ssl-{missing} {path}"):
        files.server_context()


def test_files_that_are_no_certificate_are_refused(files: TlsFiles) -> None:
    files.certfile.write_text("hello")
    with pytest.raises(HeadraceError, match="PEM"):
        files.server_context()


def test_another_certificates_key_is_refused(files: TlsFiles, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(HeadraceError, match="not the key of this certificate"):
        TlsFiles(files.certfile, write_certificate(other).keyfile).server_context()


def test_a_key_with_a_passphrase_is_refused(files: TlsFiles) -> None:
    key = serialization.load_pem_private_key(files.keyfile.read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"sesame"),
    )
    files.keyfile.write_bytes(encrypted)
    with pytest.raises(HeadraceError, match="passphrase"):
        files.server_context()
