"""Results that appear under their name only when they are whole.

A writer that is killed leaves files which open, carry the right CRS and are empty. So
everything is written beside its place, read back, and then moved there in one step.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from geoprospect.errors import CorruptFileError, OutputError

MANIFEST = "manifest.json"


@contextlib.contextmanager
def published(path: Path, verify: Callable[[Path], None]) -> Iterator[Path]:
    """Yield a temporary path; when the block ends well, verify what is there and move it to `path`.

    Parameters
    ----------
    path : pathlib.Path
        Where the file or folder is to appear. What stands there stays until the last moment.
    verify : callable
        Reads the temporary file or folder back and raises where it is not what was meant.

    Raises
    ------
    OutputError
        When writing, reading back or moving fails for lack of space, rights and the like.

    Notes
    -----
    The files of a folder get the mode that the umask gives, whatever their writer chose: safetensors are written for
    their owner alone, and nobody else could load the model.
    """
    # The suffix stays, because drivers look at it.
    beside = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        try:
            yield beside
            verify(beside)
            _open_up(beside)
            _sync(beside)
            _move(beside, path)
        except OSError as err:
            if isinstance(err, OutputError):
                raise
            raise OutputError(
                f"path={str(path)!r}: could not be written whole ({err}); what stood there before is untouched; "
                "check the space and the rights on that disk"
            ) from err
    finally:
        _remove(beside)
        for stray in beside.parent.glob(f"{glob.escape(beside.name)}.*"):  # sidecars and overview files of a driver
            _remove(stray)


def write_manifest(folder: Path) -> None:
    """Write the SHA-256 of every file of `folder` into its manifest."""
    sums = {file.name: _sha256(file) for file in sorted(folder.iterdir()) if file.name != MANIFEST}
    (folder / MANIFEST).write_text(json.dumps({"sha256": sums}, indent=2) + "\n", encoding="utf-8")


def check_manifest(folder: Path, needed: Iterable[str] = ()) -> dict[str, str]:
    """Raise `CorruptFileError` where a file of `folder` is not what its manifest says, or a needed one is not named.

    Returns the manifest, for files that turn out to be needed later: `check_named`.
    """
    try:
        sums = dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"].items())
        present = {file.name for file in folder.iterdir() if file.is_file()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise CorruptFileError(
            f"{folder / MANIFEST}: missing or unreadable ({err}); the folder is not complete"
        ) from err
    check_named(folder, sums, needed)
    for name, expected in sums.items():
        file = folder / name
        # Looked up in the listing, so a name with ".." or "/" in it leads nowhere.
        if name not in present:
            raise CorruptFileError(f"{file}: named in the manifest and not there; the folder is not complete")
        if _sha256(file) != expected:
            raise CorruptFileError(f"{file}: its SHA-256 is not that of the manifest; the file was changed or damaged")
    return sums


def check_named(folder: Path, sums: Mapping[str, str], needed: Iterable[str]) -> None:
    """Raise `CorruptFileError` where the manifest says nothing of a file that is to be read."""
    for name in needed:
        if name not in sums:
            raise CorruptFileError(f"{folder / MANIFEST}: does not name {name}; save or copy the folder again")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _open_up(path: Path) -> None:
    """Give the files of a folder the mode of a new file: that of their folder, less the right to enter it."""
    for folder in [path, *path.rglob("*")] if path.is_dir() else []:
        if folder.is_dir():
            # Asked of the folder: the umask itself can be read only by setting it, for all threads.
            mode = stat.S_IMODE(folder.stat().st_mode) & 0o666
            for file in folder.iterdir():
                if file.is_file() and stat.S_IMODE(file.stat().st_mode) != mode:
                    with contextlib.suppress(OSError):  # a disk that keeps no modes
                        file.chmod(mode)


def _sync(path: Path) -> None:
    """Have the disk keep what was written before the name points to it."""
    for file in [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]:
        with file.open("r+b") as stream:  # Windows keeps nothing that is open for reading only
            os.fsync(stream.fileno())


def _move(beside: Path, path: Path) -> None:
    if not path.is_dir():
        beside.replace(path)
        return
    # A folder that is not empty cannot be replaced in one step: set the old one aside first.
    old = path.with_name(f"{beside.name}-old")
    path.rename(old)
    try:
        beside.rename(path)
    except BaseException:  # Ctrl-C too
        if not path.exists():
            old.rename(path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
