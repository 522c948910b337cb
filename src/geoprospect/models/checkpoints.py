"""Folders in which a training is kept, so that it can go on after a stop."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from geoprospect._checks import check_int, first_rows
from geoprospect.errors import CorruptFileError, InputError, OutputError
from geoprospect.io.atomic import check_manifest, published, write_manifest
from geoprospect.models.model import ProspectivityModel

_FORMAT = 1
_NUMBERS, _TENSORS = "training.json", "training.safetensors"
_SECONDS = 30.0  # least time between two writings,
_SHARE = 20  # and least time in units of what the last one took: 5 % of the time at most is spent on writing
# What a killed writer leaves beside the folder is removed when it is older than any writing takes.
_STALE = 3600.0


@dataclass(frozen=True)
class Kept:
    """What a checkpoint holds.

    Parameters
    ----------
    model : ProspectivityModel
        The finished networks, and the current one as far as it is.
    seed : int
        From which the training draws.
    finished : bool
        Whether nothing is left to do; the rest then is empty.
    member, epoch : int
        Number of the current network, and epochs that it has behind it.
    tensors : dict
        Weights ("weights/…") and momentum ("momentum/…") of the current network.
    best : (int, float, float) or None
        Epoch of the best weights so far, with AUC and loss on the separate ground.
    """

    model: ProspectivityModel
    seed: int
    finished: bool
    member: int
    epoch: int
    tensors: dict[str, Tensor]
    best: tuple[int, float, float] | None


class Checkpoint:
    """A folder that is a `ProspectivityModel` and, while the training lasts, its state.

    Nothing in it can run code: tensors are safetensors, numbers JSON, and a manifest holds the
    checksums. It is replaced as a whole, once the new one has been read back.

    Parameters
    ----------
    folder : path-like
        A new name, an empty folder, or one that a training wrote.

    Raises
    ------
    OutputError
        When it cannot be written, or holds something else.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder)
        parent = self.path.absolute().parent
        if not parent.is_dir():
            raise OutputError(f"checkpoint={str(folder)!r}: the folder {str(parent)!r} does not exist; make it first")
        if not os.access(parent, os.W_OK):
            raise OutputError(f"checkpoint={str(folder)!r}: the folder {str(parent)!r} cannot be written to")
        self._recover()
        taken = self.path.exists() and not (self.path.is_dir() and not any(self.path.iterdir()))
        if taken and not (self.path / _NUMBERS).is_file():
            raise OutputError(f"checkpoint={str(folder)!r}: is there and holds no training; take a new name")
        self._written, self._took = time.monotonic(), 0.0

    def seed(self) -> int | None:
        """Return the seed of the training that is kept here, or None."""
        return check_int("seed", self._numbers()["seed"], 0) if (self.path / _NUMBERS).is_file() else None

    def read(self, plan: Mapping[str, Any]) -> Kept | None:
        """Return what is kept, or None where nothing is.

        Parameters
        ----------
        plan : mapping
            All that the result depends on, plain values by name; must be that of the beginning.

        Raises
        ------
        InputError
            When the training was begun with another plan; the message names what differs.
        CorruptFileError
            When a file is damaged or was changed.
        """
        if not (self.path / _NUMBERS).is_file():
            return None
        named = check_manifest(self.path, [_NUMBERS])
        numbers = self._numbers()
        self._compare(numbers["plan"], json.loads(json.dumps(plan)))
        try:
            tensors = load_file(self.path / _TENSORS) if _TENSORS in named else {}
            best = numbers["best"]
            kept = Kept(
                model=ProspectivityModel.load(self.path), seed=check_int("seed", numbers["seed"], 0),
                finished=bool(numbers["finished"]), member=check_int("member", numbers["member"], 0),
                epoch=check_int("epoch", numbers["epoch"], 0), tensors=tensors,
                best=None if best is None else (check_int("epoch", best[0]), float(best[1]), float(best[2])),
            )  # fmt: skip
            if len(kept.model.networks) != kept.member + (kept.epoch > 0):
                raise ValueError(f"{len(kept.model.networks)} networks, the one at hand is number {kept.member}")
            return kept
        except (SafetensorError, KeyError, TypeError, ValueError, IndexError) as err:
            raise self._corrupt(err) from err

    def due(self) -> bool:
        """Return whether it is time to write again."""
        return time.monotonic() - self._written >= max(_SECONDS, _SHARE * self._took)

    def write(self, kept: Kept, plan: Mapping[str, Any]) -> None:
        """Replace what is kept by this, in one step.

        Raises
        ------
        OutputError
            When it could not be written whole; what was kept before is untouched.
        """
        start = time.monotonic()
        numbers = {
            "format": _FORMAT, "finished": kept.finished, "seed": kept.seed, "member": kept.member,
            "epoch": kept.epoch, "best": kept.best, "plan": dict(plan),
        }  # fmt: skip
        with published(self.path, lambda written: _same(written, kept)) as beside:
            kept.model.save(beside)
            if kept.tensors:
                save_file({name: t.contiguous().cpu() for name, t in kept.tensors.items()}, beside / _TENSORS)
            (beside / _NUMBERS).write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
            write_manifest(beside)
        self._written = time.monotonic()
        self._took = self._written - start

    def _numbers(self) -> dict[str, Any]:
        try:
            numbers: dict[str, Any] = json.loads((self.path / _NUMBERS).read_text(encoding="utf-8"))
            if numbers["format"] != _FORMAT:
                raise CorruptFileError(
                    f"{self.path / _NUMBERS}: has format {numbers['format']}, this version reads {_FORMAT}; finish it "
                    "with the version that began it, or take a new name"
                )
            check_int("seed", numbers["seed"], 0)
            if not isinstance(numbers["plan"], dict):
                raise TypeError("plan is no object")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as err:
            raise err if isinstance(err, CorruptFileError) else self._corrupt(err) from err
        return numbers

    def _corrupt(self, err: Exception) -> CorruptFileError:
        return CorruptFileError(
            f"{self.path}: its training cannot be read ({err}); delete the folder to begin anew, or take a new name"
        )

    def _compare(self, there: dict[str, Any], here: dict[str, Any]) -> None:
        """Raise with every difference between the plan of the beginning and the one that came."""
        names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
        if not names:
            return
        # Checksums tell nobody anything; that they differ is what can be said.
        told = [
            name
            if isinstance(there.get(name), str) and len(there[name]) == 64
            else f"{name} ({there.get(name)!r} there, {here.get(name)!r} now)"
            for name in names
        ]
        raise InputError(
            f"checkpoint={str(self.path)!r}: holds a training that was begun with other arguments, which differ in "
            f"{first_rows(told, 8)}; pass the same again to go on with it, or another folder for a new training"
        )

    def _recover(self) -> None:
        """Put back what a writer that was killed between two renames had set aside, and clear away old rests."""
        pattern = f".{glob.escape(self.path.stem)}-{'[0-9a-f]' * 8}{glob.escape(self.path.suffix)}"
        aside = sorted(self.path.parent.glob(f"{pattern}-old"), key=lambda old: old.stat().st_mtime)
        if aside and not self.path.exists():
            aside.pop().rename(self.path)
        for rest in [*aside, *self.path.parent.glob(pattern)]:
            if time.time() - rest.stat().st_mtime > _STALE:
                shutil.rmtree(rest, ignore_errors=True)


def checksum(*arrays: NDArray[Any]) -> str:
    """Return the SHA-256 of arrays: their types, shapes and values."""
    sums = hashlib.sha256()
    for array in arrays:
        sums.update(f"{array.dtype.str}{array.shape}".encode())
        sums.update(np.ascontiguousarray(array).data)
    return sums.hexdigest()


def _same(written: Path, kept: Kept) -> None:
    """Raise where the tensors do not read back as they were meant; the model has been read back already."""
    check_manifest(written)
    read = load_file(written / _TENSORS) if kept.tensors else {}
    for name, tensor in kept.tensors.items():
        if not torch.equal(read[name], tensor.cpu()):
            raise CorruptFileError(f"{name} does not read back as it was written")
