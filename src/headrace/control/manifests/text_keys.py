"""Keys of revisions and runs whose values are always text, and the base of relative paths."""

import os
from dataclasses import replace
from pathlib import Path as FilePath

from headrace.control.manifests.fields.sources import at_folder
from headrace.control.manifests.parsing.problems import Path
from headrace.control.manifests.parsing.yaml_document import Document

_TEXT_KEYS = {"message", "name", "description", "tags", "image", "model", "args", "run", "env",
              "import", "export", "volumes", "annotations"}  # fmt: skip


def is_text(path: Path) -> bool:
    """``VERSION: 1.10`` is "1.10", ``DEBUG: no`` is "no", ``message: 2`` is "2"."""
    is_hidden_mark = len(path) == 3 and path[0] == "env" and path[2] == "secret"
    return len(path) > 0 and path[0] in _TEXT_KEYS and not is_hidden_mark


def prepared(document: Document, folder: FilePath | None) -> Document:
    """Without empty keys, and with absolute local paths of imports and exports."""
    base = folder if folder is not None else FilePath(os.path.expanduser(document.file)).parent
    for key in ("import", "export"):
        document = _with_plain_mounts(document, key)
    data = {key: value for key, value in document.data.items() if value is not None}
    for key in ("import", "export"):
        if isinstance(data.get(key), dict):
            data[key] = {
                path: _at_folder(value, base.absolute()) for path, value in data[key].items()
            }
    return replace(document, data=data)


def _with_plain_mounts(document: Document, key: str) -> Document:
    """With ``/code/`` moved to ``/code``, as in the model, so that problems find their position."""
    mounts = document.data.get(key)
    if not isinstance(mounts, dict):
        return document
    for path in list(mounts):
        plain = path.rstrip("/")
        if plain not in ("", path) and plain not in mounts:
            document = document.moved((key, path), (key, plain))
    return document


def _at_folder(value: object, folder: FilePath) -> object:
    try:
        return at_folder(value, folder)
    except ValueError:
        return value  # the model reports the problem
