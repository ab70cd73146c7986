"""The archive codec: one image as one file (docs/archive-format.md). Bytes in, bytes out, no I/O."""
