"""schemathesis generates requests from /openapi.json: no 5xx and no undocumented response."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.core.generation.sampling_params import MAX_CHOICES
from headrace.testing.models.tiny_models import write_tiny_model
from headrace.testing.processes.server_process import ServerProcess

NUM_EXAMPLES = int(os.environ.get("HEADRACE_TEST_EXAMPLES", "25"))
"""Examples per operation."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
PHASES = ("coverage", "fuzzing", "stateful")
"""The coverage phase tries each bound of each field, which takes most of the time."""
SAME_FIELDS = (
    *("/invocations", "/v1/chat/completions/batch"),
    *("/pooling", "/score", "/rerank", "/v2/rerank"),
)
"""Left out of the coverage phase: their fields are those of other paths."""
POOLING = "embeddings|pooling|classify|score|rerank"
"""Paths that a model which generates answers with 400 alone."""
KEY = "sesame"


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(600 + 60 * NUM_EXAMPLES)
@pytest.mark.parametrize(
    ("key", "phases", "task"),
    [(None, PHASES, "generate"), (KEY, PHASES[1:], "embed")],
    ids=["without a key", "with a key"],
)
def test_responses_conform_to_the_schema(
    tmp_path: Path, key: str | None, phases: tuple[str, ...], task: str
) -> None:
    # Whatever sets no max_tokens goes on to the end of the context.
    model = write_tiny_model(tmp_path / "tiny", max_position=64)
    environment = {} if key is None else {"HEADRACE_API_KEY": key}
    arguments = (
        *(str(model.path), "--served-model-name", "tiny", "--kv-cache-memory", "16MiB"),
        *("--num-threads", "1", "--enable-tokenizer-info-endpoint", "--task", task),
        # More choices than n may ask for are refused, so that no request takes long.
        *("--max-num-seqs", str(MAX_CHOICES), "--max-queue", "0"),
    )
    with ServerProcess(*arguments, env=environment) as server:
        command = [
            *(str(Path(sys.executable).with_name("schemathesis")), "run"),
            f"{server.url}/openapi.json",
            *(f"--max-examples={NUM_EXAMPLES}", f"--checks={','.join(CHECKS)}"),
            f"--phases={','.join(phases)}",
            *([f"--exclude-path={path}" for path in SAME_FIELDS] if "coverage" in phases else []),
            *("--seed=1", "--generation-database=none", "--suppress-health-check=all"),
            *([f"--exclude-path-regex={POOLING}"] if task == "generate" else []),
            *([] if key is None else [f"--header=Authorization: Bearer {key}"]),
        ]
        ended = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=540 + 60 * NUM_EXAMPLES
        )
        assert ended.returncode == 0, ended.stdout[-8000:]
        assert "Traceback" not in server.output
