"""GGUF files: their header, their metadata as a DecoderConfig, their weights dequantized."""
