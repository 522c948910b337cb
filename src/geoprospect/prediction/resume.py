"""The folder of a map that is being made: what is in it, of which call it is, and who holds it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from geoprospect._version import __version__
from geoprospect.errors import GeoprospectError, InputError, OutputError
from geoprospect.io.sources import Source
from geoprospect.models.applicability import Applicability
from geoprospect.models.model import ProspectivityModel
from geoprospect.prediction.engine import Tile
from geoprospect.prediction.plan import Plan
from geoprospect.prediction.settings import MapSettings

log = logging.getLogger("geoprospect")

_PLAN, _JOURNAL, _LOCK = "plan.json", "journal.jsonl", "lock"
_OURS = (_PLAN, f"{_PLAN}.new", _JOURNAL, _LOCK)
_FORMAT = 1


def fingerprint_of(model: ProspectivityModel, source: Source, settings: MapSettings) -> dict[str, Any]:
    """Return all that the bytes of the map depend on, as plain values."""
    weights = hashlib.blake2b(digest_size=16)
    for network in model.networks:
        for name, tensor in network.state_dict().items():
            weights.update(name.encode())
            weights.update(tensor.detach().cpu().numpy().tobytes())
    described = {
        "bands": model.bands, "units": model.units, "offset": model.offset.tolist(), "scale": model.scale.tolist(),
        "crop": model.crop, "weights": weights.hexdigest(),
        "calibration": None if model.calibration is None else model.calibration.to_dict(),
        "applicability": None if model.applicability is None else _digest_of(model.applicability),
    }  # fmt: skip
    chosen = {key: value for key, value in asdict(settings).items() if key not in ("batch", "threads", "precision")}
    found = {
        "format": _FORMAT, "model": described, "survey": source.identity(model.bands), "settings": chosen,
        "versions": {"geoprospect": __version__, "torch": str(torch.__version__)},
    }  # fmt: skip
    as_it_reads_back: dict[str, Any] = json.loads(json.dumps(found))
    return as_it_reads_back


def _digest_of(areas: Sequence[Applicability]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for area in areas:
        digest.update(json.dumps(area.numbers()).encode())
        for name, tensor in sorted(area.tensors().items()):
            digest.update(name.encode())
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


class Partial:
    """The folder of a map that is being made: a file per band, and a journal of the tiles that are in them.

    A tile is entered when its values are on the disk; the plan is written first. So whatever happens, what the
    journal names is there, and what it does not name is made again.
    """

    def __init__(self, folder: Path, plan: Plan, settings: MapSettings) -> None:
        self.folder, self.plan, self.settings = folder, plan, settings
        self.done: set[Tile] = set()
        self._files: dict[str, Any] = {name: (folder / f"{name}.f32").open("r+b") for name in plan.bands}
        self._journal = (folder / _JOURNAL).open("a", encoding="utf-8")

    @classmethod
    @contextlib.contextmanager
    def opened(cls, folder: Path, plan: Plan, fingerprint: dict[str, Any], resume: bool) -> Iterator[Partial]:
        """Begin a map, or take up what there is of it."""
        with _locked(folder), contextlib.ExitStack() as beginning:
            beginning.enter_context(_disk_errors(folder))
            if not resume:
                _emptied(folder)
            before = _read_plan(folder)
            if before is not None:
                _check_same(folder, before["fingerprint"], fingerprint)
                settings = MapSettings(**before["settings"])
            else:
                _emptied(folder)
                settings = plan.settings
                (folder / _JOURNAL).touch()
                # Under another name first: a plan is there whole, or not at all.
                written = folder / f"{_PLAN}.new"
                with written.open("w", encoding="utf-8") as stream:
                    json.dump({"fingerprint": fingerprint, "settings": asdict(settings)}, stream, indent=2)
                    stream.flush()
                    os.fsync(stream.fileno())
                written.replace(folder / _PLAN)
            for name in plan.bands:  # one that is gone is empty again, and its tiles are made again
                with (folder / f"{name}.f32").open("ab") as band:
                    band.truncate(plan.windows * 4)
            partial = cls(folder, plan, settings)
            try:
                partial._read_journal()
                beginning.close()  # what goes wrong from here on may be of the survey
                yield partial
            finally:
                partial.close()

    def close(self) -> None:
        """Close the files."""
        for stream in (*self._files.values(), self._journal):
            stream.close()

    def remove(self) -> None:
        """Remove what is ours and then the folder, its lock last: whoever comes meanwhile finds it held, or nothing."""
        self.close()
        with contextlib.suppress(OSError):
            for file in sorted(_ours(self.folder), key=lambda file: file.name == _LOCK):
                file.unlink()
            self.folder.rmdir()

    def keep(self, tile: Tile, bands: dict[str, NDArray[Any]], batch: int) -> None:
        """Write what was found in a tile, in batches of so many windows, and then enter it."""
        with _disk_errors(self.folder):
            width = self.plan.grid.shape[1]
            for name, stream in self._files.items():
                for row, values in zip(range(tile.top, tile.bottom), bands[name], strict=True):
                    stream.seek((row * width + tile.left) * 4)
                    stream.write(np.ascontiguousarray(values, dtype="<f4").tobytes())
                stream.flush()
                os.fsync(stream.fileno())
            entry = {"tile": list(tile), "batch": batch, "digest": self._digest(tile)}
            self._journal.write(json.dumps(entry) + "\n")
            self._journal.flush()
            os.fsync(self._journal.fileno())
            self.done.add(tile)

    def _read_journal(self) -> None:
        """Take the tiles that are there as they were entered; a line that was cut off was none."""
        known = {tile for strip in self.plan.strips for tile in strip}
        for line in (self.folder / _JOURNAL).read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                tile = Tile(*entry["tile"])
                if tile in known and self._digest(tile) == entry["digest"]:
                    self.done.add(tile)
                    # Where memory ran out then, it will now; and another batch may give other last digits.
                    self.settings = replace(self.settings, batch=int(entry["batch"]))
            except (ValueError, KeyError, TypeError):
                continue
        self._journal.write("\n")  # so that the next line is one, also after one that was cut off
        if self.done:
            log.info("%d of %d tiles are there from before", len(self.done), self.plan.n_tiles)

    def _digest(self, tile: Tile) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for name in self.plan.bands:
            digest.update(self._read(name, tile.rows, tile.cols).tobytes())
        return digest.hexdigest()

    def _read(self, name: str, rows: slice, cols: slice) -> NDArray[np.float32]:
        return _Kept(self.folder / f"{name}.f32", self.plan.grid.shape)[rows, cols]

    def dataset(self, others: Mapping[str, Any], attrs: dict[str, Any]) -> xr.Dataset:
        """Return the map, read from the disk chunk by chunk, with other rasters that are made in the same way."""
        import dask.array

        from_array: Any = dask.array.from_array  # without types
        kept = {name: _Kept(self.folder / f"{name}.f32", self.plan.grid.shape) for name in self.plan.bands}
        bands = {name: from_array(one, chunks=2048, name=False) for name, one in {**kept, **others}.items()}
        return self.plan.grid.dataset(bands, attrs)


@dataclass(frozen=True)
class _Kept:
    """A raster of float32 in a file, row after row, that is read where it is asked for."""

    file: Path
    shape: tuple[int, int]
    dtype: ClassVar = np.dtype("<f4")
    ndim: ClassVar = 2

    def __getitem__(self, place: tuple[slice, slice]) -> NDArray[np.float32]:
        rows, cols = (range(*at.indices(length)) for at, length in zip(place, self.shape, strict=True))
        values = np.empty((len(rows), len(cols)), dtype=self.dtype)
        with self.file.open("rb") as stream:
            for row, line in zip(rows, values, strict=True):
                stream.seek((row * self.shape[1] + cols.start) * 4)
                line[:] = np.frombuffer(stream.read(4 * len(cols)), dtype=self.dtype)
        return values


def _ours(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.name in _OURS or file.suffix == ".f32"]


def _emptied(folder: Path) -> None:
    """Remove what an earlier map left; raise where there is anything else."""
    ours = _ours(folder)
    others = sorted(set(folder.iterdir()) - set(ours))
    if others:
        raise InputError(
            f"path: {folder.name} holds {others[0].name}, which is of no map that was begun; move it elsewhere, or "
            "take another name for the map"
        )
    for file in ours:
        if file.name != _LOCK:
            file.unlink()


def _read_plan(folder: Path) -> dict[str, Any] | None:
    """Return the plan of a map that was begun; None where there is none, no whole one, or no tile was made by it."""
    try:
        if not (folder / _JOURNAL).read_text(encoding="utf-8", errors="replace").strip():
            return None
        found: dict[str, Any] = json.loads((folder / _PLAN).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    whole = isinstance(found, dict) and all(isinstance(found.get(part), dict) for part in ("fingerprint", "settings"))
    return found if whole else None


def _check_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise where a map was begun with something else."""
    differ = [f"{part} ({', '.join(keys)})" for part in now if (keys := _differing(before.get(part), now[part]))]
    if differ:
        raise InputError(
            f"path: {folder.name} holds a map that was begun with another {' and another '.join(differ)}; make the "
            "same call as then to finish it, pass resume=False to begin anew, or take another name"
        )


def _differing(before: Any, now: Any) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    return [] if before == now else ["all"]


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make the folder, and hold it alone; the lock falls with the process."""
    # Of the system, or none: a file that merely says that somebody writes would outlive a process that is killed.
    lock = FileLock(folder / _LOCK, fallback_to_soft=False)
    with _disk_errors(folder):
        folder.mkdir(exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise OutputError(
                f"path: another process is writing {folder.name}; wait for it, or take another name"
            ) from None
    try:
        yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):  # Windows removes no file that is held: then the folder is left, empty
            folder.rmdir()


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        if isinstance(err, GeoprospectError):
            raise
        raise OutputError(
            f"path: {folder.name} could not be written ({err}); what is there is kept, and the same call goes on from "
            "it; check the space and the rights on that disk"
        ) from err
