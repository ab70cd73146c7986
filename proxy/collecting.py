"""Garbage collection, without which a program starts.

What is imported stays: to look for garbage among it, again and again, takes a fifth of a start.
"""

import gc


def pause() -> None:
    """Collect no garbage for now."""
    gc.disable()


def resume() -> None:
    """Collect garbage from now on, but look at nothing that is there already."""
    gc.freeze()
    gc.enable()
