"""Refining estimated poses: from single people to whole files."""
