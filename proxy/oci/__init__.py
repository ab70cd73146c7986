"""The grammar of the specifications: digests, names, manifests. No I/O."""
