"""Refining sequences of frames as one stream, whatever files they come from."""
