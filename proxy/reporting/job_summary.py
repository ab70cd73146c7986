"""What this relay has done, gathered for the summary of its job."""

from collections.abc import Callable
from dataclasses import dataclass

from proxy.catalog.catalog import Archive
from proxy.errors import RegistryError
from proxy.oci.digest import Digest
from proxy.oci.names import is_path, label, parse_label
from proxy.registry.push_state import State
from proxy.reporting.history import Handled, History
from proxy.reporting.markdown import Facts, Row, write
from proxy.reporting.pulls import PullTracker
from proxy.reporting.status import Status

_IMAGES = 100  # that are looked up; a summary shows no more


@dataclass(frozen=True, slots=True)
class JobSummary:
    """Answers for `/relay/summary`.

    `place` says in our words where images are kept, `load` gives the command that loads an artifact by hand, or
    nothing; `another`: it is another run whose images are handed out.
    """

    report: Status
    history: History
    departures: PullTracker
    place: str
    load: Callable[[str], str]
    another: bool = False

    async def text(self) -> str:
        """Tell all that happened up to now."""
        handled, pushed = self.history.images(self.departures.under_way()), self.report.push.pushed()
        failed = [each for each in pushed if each.state is State.FAILED]
        return write(
            Facts(
                place=self.place,
                rows=[await self._row(each) for each in handled[-_IMAGES:]],
                more=self.history.forgotten + max(0, len(handled) - _IMAGES),
                volume=await self._volume() if handled else None,
                moved=self.history.moved,
                run=self.report.standing() if self.another else {},
                pending=[label(each.name, each.reference) for each in pushed if each.state is not State.FAILED],
                failed=[(label(each.name, each.reference), each.problem) for each in failed],
                unreadable=[(each.artifact.name, each.problem) for each in self.report.unreadable()],
                missing=self.history.missing,
                refused=self.history.refused,
            )
        )

    async def _volume(self) -> tuple[int, int] | None:
        try:
            return await self.report.lookup.catalog.volume()
        except RegistryError:
            return None

    async def _row(self, image: Handled) -> Row:
        archive = await self._archive(image)
        known = await self.report.durable(archive) if archive else None
        sent = None if image.stored_in is None else image.new + image.reused
        return Row(
            reference=image.reference,
            digest=image.digest,
            origin="pushed here" if image.pushed else self.place,
            platforms=known.platforms if known else (),
            size=known.size if known else None,
            stored=(known.stored if sent is None else sent) if known else None,  # act tells another size
            new=None if sent is None else image.new,
            reused=None if sent is None else image.reused,
            stored_in=image.stored_in,
            pulled_in=image.pulled_in,
            expires=known.expires.strftime("%Y-%m-%d %H:%M UTC") if known and known.expires else "",
            pull=_pull(image, self.report.push.public_host) if archive or not image.pushed else "",
            load=self.load(archive.artifact.name) if archive else "",
        )

    async def _archive(self, image: Handled) -> Archive | None:
        """Give the archive of an image, if that is still what its reference answers with, and can be looked up."""
        catalog = self.report.lookup.catalog
        name, reference = parse_label(image.reference)
        try:
            if isinstance(reference, Digest):
                return await catalog.find_cached(name, reference)
            archive = await catalog.resolve_tag(name, reference)
        except RegistryError:
            return None
        return archive if archive and str(archive.index.root) == image.digest else None


def _pull(image: Handled, host: str) -> str:
    """Return the command that fetches an image; what is of a registry with a port cannot be pulled as a path."""
    name, _ = parse_label(image.reference)
    if is_path(name.text):
        return f"docker pull {host}/{image.reference}  # {host}/{name}@{image.digest}"
    return f"curl -gsSfL 'http://{host}/relay/images/{image.reference}' | docker load  # {image.digest}"
