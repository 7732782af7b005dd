"""Servers with scripted or faulty behavior, for tests of what connects to them."""
