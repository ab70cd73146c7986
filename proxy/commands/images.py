"""Which images a command is about, as people write them: `LOCAL=REF` to save, `REF=LOCAL` to load."""

from dataclasses import dataclass

from proxy.commands.relay import CommandFailed
from proxy.errors import RegistryError
from proxy.oci.references import Reference, is_id


@dataclass(frozen=True, slots=True)
class Saving:
    """An image of the engine, as that knows it, and its name in the relay."""

    local: str
    target: str


def read(text: str) -> Reference:
    """Read a reference; CommandFailed, in a sentence, if it is none."""
    try:
        return Reference.parse(text)
    except RegistryError as error:
        raise CommandFailed(error.message) from error


def target_of(text: str) -> str:
    """Read the name under which the relay is to store an image; CommandFailed."""
    reference = read(text)
    if reference.digest:
        raise CommandFailed(
            f"{text[:80]} has a digest, and an image is stored under a tag, such as {reference.path}:v1"
        )
    return str(reference)


def saving(text: str) -> Saving:
    """Read `LOCAL` or `LOCAL=REF`, where the former may be the id of an image; CommandFailed."""
    local, equals, target = text.partition("=")
    if not equals and is_id(local):
        raise CommandFailed(
            f"{local[:19]}… is the id of an image; say what it is to be called: save {local[:19]}…=app:v1"
        )
    if not equals:
        return Saving(target_of(local), target_of(local))
    if not is_id(local):
        read(local)
    return Saving(local, target_of(target))


def loading(text: str) -> str:
    """Read `REF` or `REF=LOCAL`, what it is to be called in the engine; CommandFailed."""
    reference, equals, local = text.partition("=")
    asked = str(read(reference))
    return f"{asked}={target_of(local)}" if equals else asked
