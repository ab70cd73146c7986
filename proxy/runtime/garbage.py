"""When the garbage collector runs: not while a program starts, and never over what stays.

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


def settle() -> None:
    """Look at nothing any more that is there now and no fresh garbage: much was read that stays.

    Else each collection looks at thousands of indexes again, which takes a second.
    """
    gc.collect(1)
    gc.freeze()
