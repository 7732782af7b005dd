"""Models in Hugging Face's layout: config.json, safetensors, and files of sentence-transformers."""
