"""The offline interface: complete prompts with an engine core in this process.

Names follow vLLM's ``LLM``.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.progress import Progress

from headrace.core.clock import MonotonicClock
from headrace.core.errors import ConcurrentCallError, InvalidParameterError
from headrace.core.generation.outputs import RequestOutput
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.adapters.lora_request import LoRARequest, OfflineAdapters
from headrace.engine.admission import check_request, choose_seed
from headrace.engine.config import EngineConfig
from headrace.engine.grammar.checker import GrammarChecker
from headrace.engine.messages import AddRequest, StartupPhase, StepOutputs
from headrace.engine.outputs.output_processor import OutputProcessor
from headrace.engine.outputs.request_collector import RequestCollector
from headrace.engine.rendering.chat_template import ChatTemplate
from headrace.engine.rendering.end_tokens import end_token_ids
from headrace.engine.startup import start_core
from headrace.engine.tokenization.bad_words import encode_bad_words
from headrace.engine.tokenization.literal_text import HiddenTokens, LiteralText
from headrace.engine.tokenization.tokenizer import Tokenizer, load_tokenizer
from headrace.models.sources.resolve import resolve_model

Prompt = str | Sequence[int] | Mapping[str, Any]
"""A text, token ids, or a mapping with "prompt" or "prompt_token_ids"."""

Message = Mapping[str, Any]

LoRARequests = LoRARequest | Sequence[LoRARequest | None] | None


@dataclass(frozen=True)
class _ReadPrompt:
    text: str | None
    token_ids: list[int]


class LLM:
    """One model in this process; the options are those of EngineConfig. Takes one caller at a time.

    ``LLM("smollm2-135m").generate(["Once upon"], SamplingParams(max_tokens=64))``
    """

    def __init__(self, model: str, **options: Any) -> None:
        config = EngineConfig(model=model, **options)
        files = resolve_model(config.model, revision=config.revision)
        self._tokenizer = load_tokenizer(files, config.tokenizer)
        self._literal_text = LiteralText(self._tokenizer)
        self._clock = MonotonicClock()
        started = start_core(config, files, _ignore)
        self._core = started.core
        self._add_end_tokens_of(ChatTemplate(files, self._tokenizer))
        self._files = files
        self._outputs = OutputProcessor(self._tokenizer.backend)
        self._grammars = GrammarChecker()
        self._adapters = OfflineAdapters(self._core, config.num_adapters)
        self._num_requests = 0
        self._in_use = threading.Lock()
        self.config = config
        self.ready = started.ready

    def get_tokenizer(self) -> Tokenizer:
        return self._tokenizer

    def get_default_sampling_params(self) -> SamplingParams:
        """The model's recommended sampling parameters, the default of ``generate``."""
        advised: dict[str, Any] = {**self.ready.sampling_defaults, **self._files.sampling_defaults}
        return SamplingParams(**advised)

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        use_tqdm: bool = True,
        lora_request: LoRARequests = None,
    ) -> list[RequestOutput]:
        """Complete every prompt; the outputs are in the order of the prompts.

        use_tqdm: show a progress bar. (The name is vLLM's.)
        lora_request: the adapter of all prompts, or of each; needs ``enable_lora=True``.
        Raises ConcurrentCallError, with nothing done, while another thread is generating.
        """
        if self._in_use.locked():
            raise ConcurrentCallError(
                "Another thread is generating with this LLM, which takes one caller at a time. "
                "Give all prompts to one call, which computes them together, or use a lock."
            )
        with self._in_use:  # a thread that passed the check at the same moment waits
            return self._generate(_as_list(prompts), sampling_params, use_tqdm, lora_request)

    def _generate(
        self,
        prompts: Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None,
        use_tqdm: bool,
        lora_request: LoRARequests,
    ) -> list[RequestOutput]:
        collectors = self._submit(prompts, sampling_params, lora_request)
        try:
            with _progress_bar(use_tqdm, len(collectors)) as advance:
                self._run(collectors, advance)
        except BaseException:
            self._abort(list(collectors))
            raise
        return [collector.output for collector in collectors.values()]

    def chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        use_tqdm: bool = True,
        chat_template: str | None = None,
        add_generation_prompt: bool = True,
        parse_special_tokens: bool = False,
        lora_request: LoRARequests = None,
    ) -> list[RequestOutput]:
        """Complete one conversation, or each of several, with the model's chat template.

        parse_special_tokens: encode the text of special tokens in messages as these tokens.
        lora_request: as for ``generate``.
        """
        template = ChatTemplate(self._files, self._tokenizer, chat_template)
        if chat_template is not None:
            self._add_end_tokens_of(template)
        prompts = []
        for conversation in _as_conversations(messages):
            shown, hidden = [dict(message) for message in conversation], HiddenTokens()
            if not parse_special_tokens:
                shown = self._literal_text.hide(shown, hidden)
            text = template.render(shown, add_generation_prompt=add_generation_prompt)
            # The template already contains the special tokens.
            if hidden.texts:
                [token_ids] = self._literal_text.encode_batch([text], hidden, False)
            else:
                token_ids = self._tokenizer.encode(text, add_special_tokens=False)
            prompts.append({"prompt": hidden.show(text), "prompt_token_ids": token_ids})
        return self.generate(prompts, sampling_params, use_tqdm, lora_request)

    def _add_end_tokens_of(self, template: ChatTemplate) -> None:
        self._core.add_end_tokens(end_token_ids(self._tokenizer, template))

    def _submit(
        self,
        prompts: Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None,
        lora_request: LoRARequests,
    ) -> dict[str, RequestCollector]:
        """Add all prompts to the core, or none if one is invalid."""
        params = _params_of_each(
            sampling_params or self.get_default_sampling_params(), len(prompts)
        )
        params = [
            encode_bad_words(each, self._tokenizer) if each.bad_words else each for each in params
        ]
        read = [self._read(prompt) for prompt in prompts]
        limits = [
            check_request(
                prompt.token_ids,
                each,
                vocab_size=self.ready.vocab_size,
                max_model_len=self.ready.max_model_len,
                max_logprobs=self.config.max_logprobs,
                spec=self.ready.pooling,
            )
            for prompt, each in zip(read, params, strict=True)
        ]
        for each in params:
            if each.grammar is not None:
                self._grammars.check_now(each.grammar)
        adapter_ids = self._adapters.ids_of(lora_request, len(prompts))
        collectors = {}
        for prompt, each, limit, adapter_id in zip(read, params, limits, adapter_ids, strict=True):
            request_id = str(self._num_requests)
            self._num_requests += 1
            self._add(request_id, prompt, each, limit, adapter_id)
            collectors[request_id] = RequestCollector(
                request_id,
                prompt.text,
                prompt.token_ids,
                each.n,
                with_prompt_logprobs=each.prompt_logprobs is not None,
            )
        return collectors

    def _read(self, prompt: Prompt) -> _ReadPrompt:
        if isinstance(prompt, str):
            return _ReadPrompt(prompt, self._tokenizer.encode(prompt))
        if not isinstance(prompt, Mapping):
            return _ReadPrompt(None, list(prompt))
        text = prompt.get("prompt")
        if "prompt_token_ids" in prompt:
            return _ReadPrompt(text, list(prompt["prompt_token_ids"]))
        if isinstance(text, str):
            return _ReadPrompt(text, self._tokenizer.encode(text))
        raise InvalidParameterError(
            "prompts", 'a mapping needs "prompt" (a text) or "prompt_token_ids" (a list)'
        )

    def _add(
        self,
        request_id: str,
        prompt: _ReadPrompt,
        params: SamplingParams,
        limit: int,
        adapter_id: int,
    ) -> None:
        now = self._clock.now()
        token_ids = prompt.token_ids
        self._outputs.add(request_id, prompt.text, token_ids, params, now, limit)
        seed = choose_seed(params)
        for choice, core_id in enumerate(self._outputs.core_request_ids(request_id)):
            self._core.add(
                AddRequest(core_id, token_ids, params, now, choice, seed, "", adapter_id=adapter_id)
            )

    def _run(self, collectors: dict[str, RequestCollector], advance: Callable[[], None]) -> None:
        step: StepOutputs | None = None
        aborts: list[str] = []

        def process() -> None:  # while the next step is computed
            if step is None:
                return
            processed = self._outputs.process(step, self._clock.now())
            for chunk in processed.prompt_logprobs:
                collectors[chunk.request_id].add_prompt_logprobs(chunk.choice, chunk.entries)
            for arrived in processed.deltas:
                collectors[arrived.request_id].add(arrived.delta)
                if arrived.is_last:
                    advance()
            aborts.extend(processed.aborts)

        while self._core.has_work:
            step = self._core.step(process)
            if not self._core.has_work:
                process()
            if aborts:
                self._core.abort(aborts)
                aborts.clear()

    def _abort(self, request_ids: list[str]) -> None:
        now = self._clock.now()
        for request_id in request_ids:
            self._core.abort(self._outputs.abort(request_id, now))
        self._core.step()


def _as_list(prompts: Prompt | Sequence[Prompt]) -> Sequence[Prompt]:
    """A single prompt becomes a list of one; a flat list of ints is a single prompt."""
    if isinstance(prompts, (str, Mapping)):
        return [prompts]
    if prompts and isinstance(prompts[0], int):
        return [prompts]  # type: ignore[list-item]
    return prompts  # type: ignore[return-value]


def _as_conversations(
    messages: Sequence[Message] | Sequence[Sequence[Message]],
) -> Sequence[Sequence[Message]]:
    if messages and isinstance(messages[0], Mapping):
        return [messages]  # type: ignore[list-item]
    return messages  # type: ignore[return-value]


def _params_of_each(
    sampling_params: SamplingParams | Sequence[SamplingParams], num_prompts: int
) -> list[SamplingParams]:
    if isinstance(sampling_params, SamplingParams):
        return [sampling_params] * num_prompts
    if len(sampling_params) != num_prompts:
        raise InvalidParameterError(
            "sampling_params",
            f"there are {len(sampling_params)} for {num_prompts} prompts; give one for each, or "
            "one for all",
        )
    return list(sampling_params)


@contextmanager
def _progress_bar(shown: bool, num_requests: int) -> Iterator[Callable[[], None]]:
    with Progress(disable=not shown) as progress:
        task = progress.add_task("Generating", total=num_requests)
        yield lambda: progress.advance(task)


def _ignore(_: StartupPhase) -> None:
    pass
