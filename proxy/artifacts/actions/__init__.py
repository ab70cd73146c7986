"""The store that keeps archives as artifacts of a workflow run."""
