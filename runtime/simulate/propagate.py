"""Generated particles through the generic detector with ACTS Fatras, by way of its CSV reader and writer."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.errors import TrkxError
from trkx.runtime.simulate.collisions import Generated

BARCODE = ("particle_id_pv", "particle_id_sv", "particle_id_part", "particle_id_gen", "particle_id_subpart")
FIELD_TESLA = 2.0
P_MIN_GEV = 0.1


@contextmanager
def quiet() -> Iterator[None]:
    """Send what C++ libraries print to nowhere, for the length of the block."""
    keep = [os.dup(1), os.dup(2)]
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        os.dup2(null, 2)
        yield
    finally:
        for target, saved in enumerate(keep, start=1):
            os.dup2(saved, target)
            os.close(saved)
        os.close(null)


class Fatras:
    """ACTS Fatras with the generic detector in a 2 T solenoid, interactions with the material on."""

    def __init__(self) -> None:
        import acts
        import acts.examples

        self._detector = acts.examples.GenericDetector()
        self.geometry = self._detector.trackingGeometry()
        self._field = acts.ConstantBField(acts.Vector3(0, 0, FIELD_TESLA * acts.UnitConstants.T))

    def propagate(self, generated: Generated, seed: int) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Return columns of the simulated hits and of the particles (secondaries included), as ACTS's CSV files name them.

        Random numbers come from `seed` alone. Raises TrkxError if ACTS fails.
        """
        import acts
        import acts.examples
        from acts.examples.simulation import addFatras
        from pyarrow import csv

        with tempfile.TemporaryDirectory(prefix="trkx-simulate-") as name:
            folder = Path(name)
            write_particles(folder / "event000000000-particles.csv", generated)
            level = acts.logging.FATAL
            sequencer = acts.examples.Sequencer(events=1, numThreads=1, logLevel=level, trackFpes=False)
            random = acts.examples.RandomNumbers(seed=seed)
            sequencer.addReader(acts.examples.CsvParticleReader(
                level=level, inputDir=str(folder), inputStem="particles", outputParticles="particles_generated_selected"))
            addFatras(sequencer, self.geometry, self._field, random, enableInteractions=True,
                      pMin=P_MIN_GEV * acts.UnitConstants.GeV, logLevel=level)
            sequencer.addWriter(acts.examples.CsvSimHitWriter(
                level=level, inputSimHits="simhits", outputDir=str(folder), outputStem="simhits"))
            sequencer.addWriter(acts.examples.CsvParticleWriter(
                level=level, inputParticles="particles_simulated", outputDir=str(folder), outputStem="simulated"))
            sequencer.run()
            try:
                hits = csv.read_csv(folder / "event000000000-simhits.csv")
                particles = csv.read_csv(folder / "event000000000-simulated.csv")
            except OSError as error:
                raise TrkxError(f"ACTS Fatras wrote no hits: {error}. Run `trkx doctor`.") from error
        as_numpy = [{key: table[key].to_numpy() for key in table.column_names} for table in (hits, particles)]
        return as_numpy[0], as_numpy[1]


def write_particles(path: Path, generated: Generated) -> None:
    """Write particles as ACTS's CsvParticleReader reads them: mm, GeV, e."""
    import pyarrow as pa
    from pyarrow import csv

    columns: dict[str, Any] = {name: generated.barcode[:, i] for i, name in enumerate(BARCODE)}
    columns |= {"particle_type": generated.pdg, "process": np.zeros(len(generated.pdg), np.int64)}
    columns |= {name: generated.vertex[:, i] for i, name in enumerate(("vx", "vy", "vz"))}
    columns |= {"vt": np.zeros(len(generated.pdg))}
    columns |= {name: generated.momentum[:, i] for i, name in enumerate(("px", "py", "pz"))}
    columns |= {"m": generated.mass, "q": generated.charge}
    with path.open("wb") as file:  # ACTS reads no quoted names, which pyarrow's own header would have
        file.write((",".join(columns) + "\n").encode())
        csv.write_csv(pa.table(columns), file, csv.WriteOptions(include_header=False))
