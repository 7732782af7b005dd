"""HTTP below the endpoints: middleware, bodies, errors, streams and uvicorn."""
