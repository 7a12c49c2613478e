"""Durable jobs: the store, the supervisor in the server's process, and the worker process."""
