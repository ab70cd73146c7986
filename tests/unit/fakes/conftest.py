"""The emulator under its own tests."""

from tests.fakes.actions.fixtures import azurite, emulate

__all__ = ["azurite", "emulate"]
