"""Registries that are asked for what is not here."""
