"""Parts of the engine without a model: a runner, a core and what the core says."""
