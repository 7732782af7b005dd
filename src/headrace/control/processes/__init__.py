"""Process groups of this machine: started, told apart, signalled."""
