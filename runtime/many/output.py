"""What a run writes, event by event, in memory that does not grow with the number of hits that went through."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Literal

from trkx.errors import SpecError, TrkxError
from trkx.runtime.events import write_prototracks, write_tracks_parquet
from trkx.runtime.events.output import write_files
from trkx.runtime.events.writers import SUBMISSION_HEADER, submission_rows
from trkx.runtime.many.found import Found
from trkx.runtime.tracks import StageReport

Format = Literal["parquet", "trackml", "acts"]


@dataclasses.dataclass(frozen=True)
class Row:
    """What is kept of an event that is written: its stages, and what the run's last lines count."""

    event_id: int
    stages: tuple[StageReport, ...]
    num_tracks: int
    truncated: int


RUN, STAGES = "run.json", "stages.json"
"""What made the tracks of a folder (bundle, weights, engine, precision, device, version), and what each stage cost."""
ANYWHERE = ("device", "trkx")
"""What tracks in one folder may differ in."""


def require_same_run(folder: Path, made: Mapping[str, str]) -> None:
    """Raise SpecError if a folder has tracks of other weights, another engine or precision, or of who knows what.

    Nobody could tell them apart afterwards.
    """
    path = folder / RUN
    if not path.is_file() and not (folder / STAGES).is_file():
        return
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        before = {}
    other = [f"{name} {before.get(name, '?')}" for name in made if name not in ANYWHERE and before.get(name) != made[name]]
    if other:
        raise SpecError(f"{folder} has tracks of a run with {', '.join(other)}: give another --out, or remove the folder.")


class Output:
    """The files of one run in a folder: tracks of each event as they come, run.json before them; the others at the end.

    made: what run.json says, if anything, when the first event comes; stages.json has the costs. folder: made with that event.
    format: "parquet" or "acts" (one file an event), "trackml" (one submission.csv, whose rows go to a temporary file meanwhile).
    """

    def __init__(self, folder: Path, format: Format, made: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.made = dict(made or {})
        self.format = format
        self.rows: list[Row] = []
        self._submission = _Submission(folder / "submission.csv")

    def add(self, found: Found) -> None:
        """Write the tracks of one event; events come in the order in which the files shall list them."""
        tracks = found.tracks
        if not self.rows and self.made:  # before any track: a run that is killed leaves none without it
            self._write({RUN: self.made})
        if self.format == "parquet":
            write_tracks_parquet(self.folder, tracks)
        elif self.format == "acts":
            write_prototracks(self.folder, found.event, tracks)
        else:
            self._submission.add(submission_rows(tracks))
        self.rows.append(Row(tracks.event_id, tracks.stages, tracks.num_tracks, tracks.truncated))

    def finish(self) -> None:
        """Write what belongs to all events, of those that were added; nothing if there were none."""
        try:
            if self.rows:
                self._submission.put_in_place()  # first: it is what the run was for
                stages = {str(row.event_id): [dataclasses.asdict(stage) for stage in row.stages] for row in self.rows}
                self._write({STAGES: stages})
        finally:
            self._submission.discard()

    def _write(self, said: Mapping[str, object]) -> None:
        write_files({self.folder / name: (json.dumps(one, indent=1) + "\n").encode() for name, one in said.items()})


class _Submission:
    """A TrackML submission that grows event by event under a temporary name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        self._file: FileIO | None = None

    def add(self, rows: bytes) -> None:
        """Append the rows of an event, all or none of them."""
        with self._explained():
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = FileIO(self._temporary, "xb")
                self._file.write(SUBMISSION_HEADER)
            before = self._file.tell()
            try:
                done = 0
                while done < len(rows):  # an unbuffered write may stop early
                    done += self._file.write(rows[done:])
            except BaseException:
                self._file.truncate(before)
                self._file.seek(before)
                raise

    def put_in_place(self) -> None:
        """Give what was added its name, if anything was."""
        if self._file is not None:
            with self._explained():
                os.fsync(self._file.fileno())
                self._temporary.replace(self._path)

    def discard(self) -> None:
        """Close, and remove what has no name yet."""
        if self._file is not None:
            self._file.close()
            with contextlib.suppress(OSError):
                self._temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrkxError(
                f"{self._path}: could not be written ({error.strerror or error}); what was there is untouched. "
                "Free some space or choose another folder."
            ) from error
