"""Tarballs of images that others made: what `docker save` and its relatives write, and how it becomes manifests."""
