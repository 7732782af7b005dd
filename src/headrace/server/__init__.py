"""The OpenAI-compatible HTTP server.

app.py has the routes, api/ the endpoints, http/ what is common to all of them."""
