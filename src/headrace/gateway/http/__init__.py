"""The client's side: requests read, answers and refusals written."""
