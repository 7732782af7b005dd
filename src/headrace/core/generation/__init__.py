"""What a request for generation is: its parameters, its state and its outputs."""
