"""The configurations; in the package as hpr.conf (setup.cfg)."""
