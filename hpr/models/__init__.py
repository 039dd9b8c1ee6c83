"""The network, its weights and their files."""
