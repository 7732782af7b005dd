"""Maps GGUF tensor names to canonical names, and back."""

import re

_OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LAYER = re.compile(r"blk\.(?P<index>\d+)\.(?P<module>\w+)\.(?P<part>weight|bias)")


def canonical_name(gguf_name: str) -> str | None:
    """Hugging Face's name of it; None for a tensor that is no weight of the decoder."""
    if gguf_name in _OUTER:
        return _OUTER[gguf_name]
    match = _LAYER.fullmatch(gguf_name)
    if match is None or match["module"] not in _IN_LAYER:
        return None
    return f"model.layers.{match['index']}.{_IN_LAYER[match['module']]}.{match['part']}"


def gguf_name(canonical: str) -> str:
    """GGUF's name of a canonical one; KeyError for any other."""
    for theirs, ours in _OUTER.items():
        if ours == canonical:
            return theirs
    modules = {ours: theirs for theirs, ours in _IN_LAYER.items()}
    index, rest = canonical.removeprefix("model.layers.").split(".", 1)
    module, part = rest.rsplit(".", 1)
    return f"blk.{index}.{modules[module]}.{part}"
