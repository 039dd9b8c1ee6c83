"""The engine: images and estimated poses in, refined poses out."""
