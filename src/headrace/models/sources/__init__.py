"""Where models come from: short names, directories, GGUF files, the hub, wheels."""
