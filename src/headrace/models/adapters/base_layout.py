"""How the files of an adapter's base model name its modules."""

from headrace.core.errors import AdapterError
from headrace.models.loaders.huggingface.families import HF_ARCHITECTURES
from headrace.models.loaders.layout import WeightLayout

_HF_NAMES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3": "Gemma3ForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "gptneox": "GPTNeoXForCausalLM",
    "phi2": "PhiForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
    "granite": "GraniteForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
    "stablelm": "StableLmForCausalLM",
    "starcoder2": "Starcoder2ForCausalLM",
    "command-r": "CohereForCausalLM",
    "cohere2": "Cohere2ForCausalLM",
    "qwen2moe": "Qwen2MoeForCausalLM",
    "qwen3moe": "Qwen3MoeForCausalLM",
    "olmoe": "OlmoeForCausalLM",
    "granitemoe": "GraniteMoeForCausalLM",
    "gpt-oss": "GptOssForCausalLM",
}
"""GGUF's architectures: adapters are trained on the model in Hugging Face's layout."""


def base_layout(architecture: str) -> WeightLayout:
    """The layout in which PEFT saw a model. architecture: DecoderConfig's.

    Raises AdapterError for one that is not in Hugging Face's files.
    """
    name = _HF_NAMES.get(architecture, architecture)
    if name not in HF_ARCHITECTURES:
        raise AdapterError(f"Models of the architecture {architecture} cannot have adapters.")
    return HF_ARCHITECTURES[name].layout
