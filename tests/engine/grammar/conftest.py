"""An engine core whose tokens are bytes and whose runner knows nothing of grammars."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace.core.clock import MonotonicClock
from headrace.core.generation.outputs import FinishReason, RequestFailure
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.config import EngineConfig
from headrace.engine.engine_core import EngineCore
from headrace.engine.grammar.compiler import GrammarCompiler
from headrace.engine.grammar.constraints import GrammarConstraints
from headrace.engine.messages import AddRequest
from headrace.engine.startup import build_scheduler
from headrace.engine.tokenization.tokenizer import Tokenizer, load_tokenizer
from headrace.testing.fakes.fake_model import EOS_TOKEN_ID, VOCAB_SIZE, write_model
from headrace.testing.fakes.fake_runner import FakeRunner

PROMPT = list(b"prompt")


@dataclass
class Output:
    """What a request got."""

    token_ids: list[int]
    finish_reason: FinishReason | None = None
    failure: RequestFailure | None = None
    num_preemptions: int = 0
    is_complete: bool = False

    @property
    def text(self) -> str:
        """Without the token that ended it, if it is not text."""
        return bytes(token for token in self.token_ids if token != EOS_TOKEN_ID).decode()


@pytest.fixture(scope="session")
def byte_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Tokens [0, 256) are bytes, 256 is EOS."""
    return load_tokenizer(write_model(Path(tmp_path_factory.mktemp("parrot"))))


@pytest.fixture(scope="session")
def compiler(byte_tokenizer: Tokenizer) -> GrammarCompiler:
    return GrammarCompiler(lambda: byte_tokenizer, VOCAB_SIZE)


class GrammarCore:
    """A core over a fake runner, and the outputs of its requests."""

    def __init__(
        self,
        compiler: GrammarCompiler,
        *,
        num_blocks: int = 512,
        max_model_len: int = 2048,
        max_num_batched_tokens: int = 256,
    ) -> None:
        config = EngineConfig(
            model="fake", block_size=4, max_num_batched_tokens=max_num_batched_tokens
        )
        self.constraints = GrammarConstraints(compiler)
        self.core = EngineCore(
            build_scheduler(config, num_blocks, max_model_len),
            FakeRunner(block_size=4, vocab_size=VOCAB_SIZE),
            frozenset({EOS_TOKEN_ID}),
            VOCAB_SIZE,
            MonotonicClock(),
            self.constraints,
        )
        self.outputs: dict[str, Output] = {}

    def add(
        self,
        request_id: str,
        params: SamplingParams,
        prompt: Sequence[int] = PROMPT,
        prior: Sequence[int] = (),
    ) -> None:
        self.outputs[request_id] = Output([])
        self.core.add(
            AddRequest(request_id, list(prompt), params, 0.0, 0, 0, "", list(prior)),
        )

    def step(self) -> None:
        step = self.core.step()
        for each in step.outputs if step is not None else ():
            output = self.outputs[each.request_id]
            output.token_ids += each.token_ids
            output.finish_reason = each.finish_reason
            output.failure = each.failure
            output.num_preemptions = each.num_preemptions
            output.is_complete = each.is_complete

    def run(self) -> dict[str, Output]:
        while self.core.has_work:
            self.step()
        assert self.constraints.num_requests == 0
        return self.outputs


MakeCore = Callable[..., GrammarCore]


@pytest.fixture
def make_core(compiler: GrammarCompiler) -> MakeCore:
    def make(compiler: GrammarCompiler = compiler, **options: int) -> GrammarCore:
        return GrammarCore(compiler, **options)

    return make
