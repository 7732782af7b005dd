"""What is sent: data sets and traces from files, and prompts drawn at random."""
