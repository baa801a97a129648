"""Bounds on what a checkpoint may claim, far above every known model, checked before any work.

They keep a damaged or hostile header from asking for memory or time that no model needs.
"""

MAX_LAYERS = 1024
MAX_WIDTH = 2**20
"""Of a hidden state, an MLP, or all heads of a layer together."""
MAX_HEADS = 4096
MAX_HEAD_DIM = 8192
MAX_EXPERTS = 4096
MAX_VOCAB = 2**22
MAX_CONTEXT = 2**28

MAX_HEADER_BYTES = 256 * 2**20
MAX_TENSORS = 2**17
MAX_DIMENSIONS = 4
MAX_IMAGE_SIZE = 2**14
MAX_SOFT_TOKENS = 2**16
"""Of one image."""
