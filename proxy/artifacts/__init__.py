"""Artifact stores: where finished archives live, and how their artifacts are named."""
