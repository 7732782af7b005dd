"""TLS certificates and keys of a listening socket."""

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from headrace.listen.tls import TlsError, TlsFiles, tls_files
from headrace.testing.certificates import write_certificate


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return write_certificate(tmp_path)


def test_a_certificate_and_its_key_give_a_context(files: TlsFiles) -> None:
    context = files.server_context()
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE  # of clients


@pytest.mark.parametrize("given", [("cert.pem", None), (None, "key.pem")])
def test_one_file_without_the_other_is_refused(given: tuple[str | None, str | None]) -> None:
    with pytest.raises(TlsError, match="--ssl-certfile and --ssl-keyfile") as refused:
        tls_files(*given)
    assert refused.value.code == "file_missing"
    assert tls_files(None, None) is None


@pytest.mark.parametrize("missing", ["certfile", "keyfile"])
def test_a_file_that_cannot_be_read_is_named(files: TlsFiles, missing: str) -> None:
    path: Path = getattr(files, missing)
    path.unlink()
    for _ in ("missing", "a directory"):
        with pytest.raises(TlsError, match=f"--ssl-{missing} {path}") as refused:
            files.server_context()
        assert refused.value.code == "file_unreadable"
        path.mkdir(exist_ok=True)


def test_invalid_certificate_files_are_refused(files: TlsFiles) -> None:
    files.certfile.write_text("hello")
    with pytest.raises(TlsError) as refused:
        files.server_context()
    assert refused.value.code == "invalid_pem"


def test_another_certificates_key_is_refused(files: TlsFiles, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(TlsError) as refused:
        TlsFiles(files.certfile, write_certificate(other).keyfile).server_context()
    assert refused.value.code == "key_mismatch"


def test_a_key_with_a_passphrase_is_refused(files: TlsFiles) -> None:
    key = serialization.load_pem_private_key(files.keyfile.read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"sesame"),
    )
    files.keyfile.write_bytes(encrypted)
    with pytest.raises(TlsError) as refused:
        files.server_context()
    assert refused.value.code == "key_encrypted"
