"""What uses a model server over HTTP: batches of requests from a file, and chats in a terminal."""
