"""LoRA adapters: PEFT's files, read and packed for a decoder's weights."""
