"""Drawn people: exact poses to learn from without a download.

`body` moves them, `wardrobe` dresses them, `painting` draws them, `scene` puts them before a camera.
"""
