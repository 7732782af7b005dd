import io
import tarfile
from pathlib import Path

import pytest

from headrace.control.artifacts.artifact_files import ArtifactFile, find_file, list_files, pack
from headrace.control.artifacts.artifact_store import ArtifactStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a nested file, an empty folder, links inside and outside, and a long name."""
    (tmp_path / "outside").write_text("not exported")
    folder = tmp_path / "artifact"
    (folder / "model" / "empty").mkdir(parents=True)
    (folder / "model" / "weights.bin").write_bytes(bytes(range(256)) * 5)
    (folder / f"{'ü' * 60}.txt").write_text("x")
    (folder / "inside").symlink_to("model/weights.bin")
    (folder / "link").symlink_to(tmp_path / "outside")
    return folder


def test_regular_files_are_listed_with_their_sizes(folder: Path) -> None:
    assert len(list_files(folder, 1)) == 1
    assert set(list_files(folder, 10)) == {
        ArtifactFile("model/weights.bin", 1280),
        ArtifactFile(f"{'ü' * 60}.txt", 1),
    }


def test_only_files_inside_are_found(folder: Path) -> None:
    found = find_file(folder, "model/weights.bin")
    assert found is not None
    assert found.read_bytes()[:2] == b"\0\x01"
    for path in (
        "",
        "model",
        "nothing",
        "link",
        "../outside",
        str(folder.parent / "outside"),
        "\0",
    ):
        assert find_file(folder, path) is None


def test_the_archive_unpacks_to_the_same_tree(folder: Path, tmp_path: Path) -> None:
    archive = b"".join(pack(folder))
    assert len(archive) % tarfile.BLOCKSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = {member.name: member for member in tar.getmembers()}
        content = tar.extractfile("model/weights.bin")
        assert content is not None
        assert content.read() == (folder / "model" / "weights.bin").read_bytes()
    assert members["model/empty"].isdir()
    assert members["inside"].linkname == "model/weights.bin"
    assert members["link"].issym()
    assert f"{'ü' * 60}.txt" in members
    assert all(member.uname == "" and member.uid == 0 for member in members.values())


def test_the_folder_of_an_artifact_is_its_current_version(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "artifacts")
    assert store.folder("adapter") is None
    for text in ("first", "second"):
        (tmp_path / "source").mkdir(exist_ok=True)
        (tmp_path / "source" / "file").write_text(text)
        store.save("adapter", tmp_path / "source")
        folder = store.folder("adapter")
        assert folder is not None
        assert (folder / "file").read_text() == text
