"""What tests can stand on, ours and our users': tiny models, fakes, processes."""
