"""The folder where uploads, pending manifests and cached blobs are."""
