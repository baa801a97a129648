"""Conversations that begin alike: kept by name, their KV pages held on the worker."""
