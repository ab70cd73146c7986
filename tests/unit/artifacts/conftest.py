"""The emulator of the artifact service, for the stores that talk to it."""

from tests.fakes.actions.fixtures import azurite, emulate

__all__ = ["azurite", "emulate"]
