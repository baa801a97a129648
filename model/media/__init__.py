"""Images, sound and video: from bytes to arrays that a model takes. No jax, no network.

Runs in a process of its own (`program`): decoders are large, old and fed by strangers.
"""
