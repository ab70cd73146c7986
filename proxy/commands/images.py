"""The images named on the command line: `LOCAL=REF` to save, `REF=LOCAL` to load."""

import shlex
from dataclasses import dataclass

from proxy.commands.relay import CommandFailed
from proxy.errors import RegistryError
from proxy.oci.references import Reference, is_file, is_id


@dataclass(frozen=True, slots=True)
class Saving:
    """An image under its name in the engine, and its name in the relay."""

    local: str
    target: str


def read(text: str) -> Reference:
    """Return a reference. Raise CommandFailed, with a sentence, if it is none."""
    if "," in text:
        raise CommandFailed(f"{text[:80]!r} is no image; write a space between two images")
    try:
        return Reference.parse(text)
    except RegistryError as error:
        raise CommandFailed(error.message) from error


def _halves(text: str) -> tuple[str, str, str]:
    """Return what is before and after a `=`. Raise CommandFailed where nothing is, as of a variable that is empty."""
    first, equals, second = text.partition("=")
    if equals and not (first and second):
        raise CommandFailed(f"{text[:80]!r} has no name {'after' if first else 'before'} its =: is a variable empty?")
    return first, equals, second


def target_of(text: str) -> str:
    """Return the name under which the relay is to store an image. Raise CommandFailed if it cannot."""
    reference = read(text)
    if reference.digest:
        raise CommandFailed(
            f"{text[:80]} has a digest, and an image is stored under a tag, such as {reference.path}:v1"
        )
    return str(reference)


def saving(text: str) -> Saving:
    """Return `LOCAL` or `LOCAL=REF` parsed; `LOCAL` may be the id of an image. Raise CommandFailed if it is neither."""
    local, equals, target = _halves(text)
    if is_file(local):
        raise CommandFailed(
            f"{local[:80]} is the name of a file: save --file {shlex.quote(local[:80])}, with or without a name"
        )
    if not equals and is_id(local):
        raise CommandFailed(f"{local[:19]}… is the id of an image; give it a name: save {local[:19]}…=app:v1")
    if not equals:
        return Saving(target_of(local), target_of(local))
    if not is_id(local):
        read(local)
    return Saving(local, target_of(target))


def loading(text: str) -> str:
    """Return `REF` or `REF=LOCAL`, its name in the engine, in full. Raise CommandFailed if it is neither."""
    reference, equals, local = _halves(text)
    asked = str(read(reference))
    return f"{asked}={target_of(local)}" if equals else asked
