"""Parts of the engine without a model: a runner, a core and a vocabulary."""
