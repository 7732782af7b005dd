"""From requests to tokens: the engine core, its process, and the interfaces to it."""
