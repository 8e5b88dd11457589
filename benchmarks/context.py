"""What every suite gets: the workload, the settings, and a function for progress."""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness, peers, workload
from benchmarks.harness import Measurement, Side
from benchmarks.peer_process import PeerError, PeerProcess
from benchmarks.reports import Report
from benchmarks.settings import BenchmarkConfig
from benchmarks.workload import Workload
from engine.base import machine


@dataclasses.dataclass(frozen=True)
class Sources:
    """What the command was given to measure on.

    Attributes:
        images: an image folder; None: phantoms.
        workdir: the directory for whatever is made.
        external: shards of other places.
        strata: columns of a metadata file for these, as `engine.evaluate --strata` takes them.
        candidates: a file of settings to compare; see `benchmarks.candidates`.
    """

    images: Path | None = None
    workdir: Path = Path("data/benchmarks")
    external: tuple[Path, ...] = ()
    strata: str | None = None
    candidates: Path | None = None


@dataclasses.dataclass(frozen=True)
class Context:
    """A suite is `run(context) -> Report`.

    Attributes:
        prepare: gives the workload, made when it is first asked for.
    """

    prepare: Callable[[], Workload]
    config: BenchmarkConfig
    tell: Callable[[str], None]
    sources: Sources = Sources()

    @property
    def workload(self) -> Workload:
        """Shards, and the same images as files."""
        return self.prepare()

    def phantoms(self) -> Path:
        """An image folder for suites that divide it themselves."""
        count = self.config.phantoms
        return workload.phantoms(self.sources.workdir / f"phantoms-{count}", count, self.tell)

    @property
    def batch_size(self) -> int:
        """Images per batch, at most as many as the training split holds."""
        return min(self.config.global_batch_size, self.workload.num_images)

    def measure(self, sides: Sequence[Side]) -> list[Measurement]:
        """Times sides in turn, with the repeats and seconds of the settings."""
        return harness.measure(sides, **self.config.measuring, tell=self.tell)  # type: ignore[arg-type]

    def request(self, **options: Any) -> peers.Request:
        """The request to a peer."""
        return peers.Request(
            folder=self.workload.folder,
            shards=self.workload.shards,
            scratch=self.workload.scratch,
            image_shape=options.pop("image_shape", self.workload.manifest.image_shape),
            batch_size=options.pop("batch_size", self.batch_size),
            workers=machine.usable_cores(),
            num_images=self.workload.num_images,
            **options,
        )

    def open_peer_ways(
        self, name: str, stack: contextlib.ExitStack, report: Report, *, group: str
    ) -> list[Side]:
        """One side for each of the peer's `WAYS`, without those that cannot be opened."""
        peer = peers.load(name)
        opened = [
            self.open_peer(
                name,
                stack,
                report,
                title=f"{peer.TITLE}, {way}" if way else peer.TITLE,
                group=group,
                kept_open=way == peers.KEPT_OPEN,
            )
            for way in getattr(peer, "WAYS", ("",))
        ]
        return [side for side in opened if side is not None]

    def open_peer(
        self,
        name: str,
        stack: contextlib.ExitStack,
        report: Report,
        *,
        title: str | None = None,
        group: str = "",
        **options: Any,
    ) -> Side | None:
        """A side that runs in the peer's own process; None if it cannot, which `report` notes."""
        title = title or peers.load(name).TITLE
        self.tell(f"opening {title}")
        try:
            opened = stack.enter_context(PeerProcess(name, self.request(**options).to_json()))
            opened.run(1)  # some fail only at their first batch
        except PeerError as error:
            report.skipped[title] = str(error)
            return None
        return Side(title, opened.run, group)
