"""The image encoder: pixels to soft tokens of the decoder's width."""
