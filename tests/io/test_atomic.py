"""`published`: a name shows the old result or the new one, whole, whatever happens; manifests catch damage."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

import geoprospect as gp
from geoprospect.errors import CorruptFileError, OutputError
from geoprospect.io.atomic import MANIFEST, check_manifest, published, write_manifest

# What the scripts below share. GDAL is used in forked children only, so that none inherits its threads.
_PRELUDE = """
import hashlib, json, os, random, resource, shutil, signal, sys, tempfile, time
from pathlib import Path
import numpy as np, rioxarray, zarr
from affine import Affine
import geoprospect as gp
from geoprospect.errors import OutputError

writer = getattr(gp, sys.argv[1])
folder = Path(sys.argv[2])
name = "map.zarr" if sys.argv[1] == "write_zarr" else "map.tif"
side = 640
grid = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (side, side))

def survey(seed):
    noise = np.random.default_rng(seed).random((side, side), dtype=np.float32)
    return grid.dataset({"Cu": noise}, {"Cu": {"units": "ppm"}})

def fork(task):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            task()
            code = 0
        finally:
            os._exit(code)
    return child

def finish(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def digest(path):
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

def copy(old, new):
    remove(new)
    (shutil.copytree if old.is_dir() else shutil.copy)(old, new)

def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
"""

_KILLS = """
old, new = survey(1), survey(2)
first, second = folder / f"old-{name}", folder / f"new-{name}"
assert finish(fork(lambda: writer(old, first))) == 0
start = time.perf_counter()
assert finish(fork(lambda: writer(new, second))) == 0
duration = time.perf_counter() - start
names = {digest(first): "old", digest(second): "new"}
path, n, seen, caught = folder / name, int(sys.argv[3]), [], 0
for i in range(n):
    copy(first, path)
    child = fork(lambda: writer(new, path))
    time.sleep((i + random.random()) / n * duration * 1.1)
    os.kill(child, signal.SIGKILL)
    finish(child)
    # Between the two renames of a folder the old one stands aside, whole.
    standing = path if path.exists() else next(folder.glob(".map*-old"))
    seen.append(names.get(digest(standing), "neither"))
    left = [file for file in folder.iterdir() if file.name.startswith(".map")]
    caught += bool(left)
    for file in left:
        remove(file)
print(json.dumps({"seen": seen, "caught": caught, "different": len(names)}))
"""

_LIMIT = """
path = folder / name
assert finish(fork(lambda: writer(survey(1), path))) == 0
before = digest(path)

def too_large():
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
    try:
        writer(survey(2), path)
    except OutputError as err:
        (folder / "error.txt").write_text(str(err))

assert finish(fork(too_large)) == 0
print(json.dumps({"error": (folder / "error.txt").read_text(), "same": digest(path) == before,
                  "files": sorted(file.name for file in folder.iterdir())}))
"""

_READ_ONLY = """
# Not in the folder of the test, which other users may not enter.
with tempfile.TemporaryDirectory() as outer:
    os.chmod(outer, 0o755)
    closed, answer = Path(outer) / "closed", Path(outer) / "answer"
    closed.mkdir(mode=0o555)
    answer.touch()
    os.chmod(answer, 0o666)

    def refused():
        if os.getuid() == 0:  # root may write anywhere
            os.setuid(65534)
        errors = []
        for write, name in ((gp.write_cog, "a.tif"), (gp.write_geotiff, "b.tif"), (gp.write_zarr, "c.zarr")):
            try:
                write(survey(1), closed / name)
            except OutputError as err:
                errors.append(str(err))
        answer.write_text(" ".join(errors))

    assert finish(fork(refused)) == 0
    print(json.dumps({"errors": answer.read_text(), "files": os.listdir(closed)}))
"""

WRITERS = ["write_cog", "write_geotiff", "write_zarr"]
NAMES = {"write_cog": "map.tif", "write_geotiff": "map.tif", "write_zarr": "map.zarr"}


def run_script(script, *args):
    done = subprocess.run(
        [sys.executable, "-c", _PRELUDE + script, *map(str, args)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def put(path, text):
    """Write `text` through `published`, reading it back."""

    def verify(written):
        assert written.read_text() == text

    with published(path, verify) as beside:
        beside.write_text(text)


def put_folder(path, text, verify=lambda written: None):
    with published(path, verify) as beside:
        beside.mkdir()
        (beside / "a.txt").write_text(text)


def names(folder):
    return sorted(file.name for file in folder.iterdir())


# -- killed, full, closed ----------------------------------------------------------------------


@pytest.mark.parametrize("writer", ["write_cog", "write_zarr"])  # a file and a folder; all of them below
def test_a_kill_at_any_time_leaves_the_old_file_or_the_new_one(writer, tmp_path):
    found = run_script(_KILLS, writer, tmp_path, 6)
    assert found["different"] == 2
    assert set(found["seen"]) <= {"old", "new"}
    assert found["caught"] > 0, "no kill came in the middle, so nothing was shown"


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS)
def test_a_hundred_kills_leave_the_old_file_or_the_new_one(writer, tmp_path):
    found = run_script(_KILLS, writer, tmp_path, 100)
    assert set(found["seen"]) == {"old", "new"}
    assert found["caught"] > 10


@pytest.mark.parametrize(
    ("writer", "limit"),
    [pytest.param("write_geotiff", 400_000, marks=pytest.mark.slow), ("write_cog", 100_000), ("write_zarr", 100_000)],
)
def test_a_file_that_may_not_grow_is_an_output_error_and_the_old_one_stays(writer, limit, tmp_path):
    """Of some 1.5 MB."""
    found = run_script(_LIMIT, writer, tmp_path, limit)
    assert "could not be written whole" in found["error"]
    assert found["same"]
    assert found["files"] == ["error.txt", NAMES[writer]]


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a disk of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no right to mount a small disk: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_an_output_error_and_the_old_file_stays(writer, small_disk):
    write, path = getattr(gp, writer), small_disk / NAMES[writer]
    rng = np.random.default_rng(0)
    surveys = [
        gp.Grid("EPSG:32649", Affine(100, 0, 0, 0, -100, 0), (side, side)).dataset({"Cu": rng.random((side, side))})
        for side in (200, 900)
    ]
    write(surveys[0], path)
    before = gp.read_survey(path)
    with pytest.raises(OutputError, match=r"map\..*could not be written whole"):
        write(surveys[1], path)
    assert gp.read_survey(path).identical(before)
    assert names(small_disk) == [NAMES[writer]]


def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path):
    found = run_script(_READ_ONLY, "write_cog", tmp_path)
    assert found["errors"].count("cannot be written to") == 3
    assert found["files"] == []


@pytest.mark.parametrize("rounds", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_of_two_writers_of_one_file_one_wins_and_the_file_is_whole(rounds, tmp_path):
    script = """
old, new = survey(1), survey(2)
for name, data in (("one.tif", old), ("two.tif", new)):
    assert finish(fork(lambda: writer(data, folder / name))) == 0
wanted = {digest(folder / "one.tif"), digest(folder / "two.tif")}
whole = []
for _ in range(int(sys.argv[3])):
    children = [fork(lambda data=data: writer(data, folder / "map.tif")) for data in (old, new)]
    assert [finish(child) for child in children] == [0, 0]
    whole.append(digest(folder / "map.tif") in wanted)
print(json.dumps({"whole": whole, "files": sorted(os.listdir(folder))}))
"""
    found = run_script(script, "write_cog", tmp_path, rounds)
    assert found["whole"] == [True] * rounds
    assert found["files"] == ["map.tif", "one.tif", "two.tif"]


# -- one file ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["map.txt", "karte für [1].txt", "地図.txt", "a b.c.txt", "no suffix"])
def test_a_file_appears_and_nothing_else(name, tmp_path):
    put(tmp_path / name, "first")
    put(tmp_path / name, "second")
    assert (tmp_path / name).read_text() == "second"
    assert names(tmp_path) == [name]


def test_nothing_stands_under_the_name_while_it_is_written(tmp_path):
    path = tmp_path / "map.txt"
    with published(path, lambda _: None) as beside:
        beside.write_text("new")
        assert not path.exists()
        assert beside.parent == path.parent
        assert beside.suffix == path.suffix
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError, MemoryError])
def test_an_interrupted_block_leaves_the_old_file_and_no_temporary(error, tmp_path):
    path = tmp_path / "map [1].txt"
    put(path, "old")

    def interrupted():
        with published(path, lambda _: None) as beside:
            beside.write_text("half of the ne")
            beside.with_name(f"{beside.name}.aux.xml").write_text("sidecar")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["map [1].txt"]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(OSError("short"), OutputError), (CorruptFileError("rot"), OutputError), (InterruptedError("no"), OutputError),
     (ValueError("wrong"), ValueError), (KeyboardInterrupt(), KeyboardInterrupt)],
)  # fmt: skip
def test_what_does_not_read_back_is_never_published(raised, expected, tmp_path):
    path = tmp_path / "map.txt"
    put(path, "old")

    def verify(_):
        raise raised

    def publish():
        with published(path, verify) as beside:
            beside.write_text("new")

    with pytest.raises(expected):
        publish()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["map.txt"]


def test_an_output_error_of_the_block_keeps_its_own_words(tmp_path):
    with pytest.raises(OutputError, match=r"^mine$"), published(tmp_path / "map.txt", lambda _: None):
        raise OutputError("mine")


def test_a_block_that_writes_nothing_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="could not be written whole"), published(tmp_path / "m.txt", lambda _: None):
        pass
    assert names(tmp_path) == []


def test_a_missing_folder_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="could not be written whole"):
        put(tmp_path / "nowhere" / "map.txt", "new")


# -- folders -----------------------------------------------------------------------------------


def test_a_folder_replaces_the_old_one_whole(tmp_path):
    path = tmp_path / "model"
    put_folder(path, "old")
    (path / "left over.txt").write_text("of the old one")
    put_folder(path, "new")
    assert names(tmp_path) == ["model"]
    assert names(path) == ["a.txt"]
    assert (path / "a.txt").read_text() == "new"


@pytest.mark.skipif(os.name == "nt", reason="modes are of POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_of_a_folder_have_the_mode_that_the_umask_gives(umask, tmp_path):
    before = os.umask(umask)
    try:
        with published(tmp_path / "model", lambda _: None) as beside:
            (beside / "deeper").mkdir(parents=True)
            for file, mode in (
                (beside / "network", 0o600),
                (beside / "deeper" / "area", 0o600),
                (beside / "run", 0o777),
            ):
                file.touch()
                file.chmod(mode)
            (beside / "plain").touch()
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "model").rglob("*") if file.is_file()}
    assert modes == dict.fromkeys(("network", "area", "run", "plain"), 0o666 & ~umask)


def test_every_file_below_a_folder_is_kept_by_the_disk_before_the_folder_appears(tmp_path, monkeypatch):
    kept, fsync = set(), os.fsync

    def noting(descriptor):
        kept.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    with published(tmp_path / "store", lambda _: None) as beside:
        (beside / "a" / "b").mkdir(parents=True)
        for file in (beside / ".top", beside / "a" / "one", beside / "a" / "b" / "two"):
            file.write_text("x")
    assert kept == {file.stat().st_ino for file in (tmp_path / "store").rglob("*") if file.is_file()}


@pytest.mark.parametrize("error", [OSError("bad"), ValueError("bad"), KeyboardInterrupt()])
def test_a_folder_that_does_not_read_back_leaves_the_old_one(error, tmp_path):
    path = tmp_path / "model"
    put_folder(path, "old")

    def verify(written):
        assert (written / "a.txt").read_text() == "new"
        raise error

    with pytest.raises((OutputError, ValueError, KeyboardInterrupt)):
        put_folder(path, "new", verify)
    assert names(tmp_path) == ["model"]
    assert (path / "a.txt").read_text() == "old"


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_interruption_between_the_two_renames_of_a_folder_brings_the_old_one_back(error, tmp_path, monkeypatch):
    path = tmp_path / "model"
    put_folder(path, "old")
    rename = Path.rename

    def rename_or_raise(self, target):
        if Path(target) == path and not self.name.endswith("-old"):
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_or_raise)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        put_folder(path, "new")
    assert names(tmp_path) == ["model"]
    assert (path / "a.txt").read_text() == "old"


# -- manifests ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Return a folder of two files under a manifest."""
    (tmp_path / "weights.bin").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "meta é.json").write_text("{}")
    write_manifest(tmp_path)
    return tmp_path


def rewrite(folder, sums):
    (folder / MANIFEST).write_text(json.dumps({"sha256": sums}))


def test_an_untouched_folder_agrees_with_its_manifest(folder):
    sums = json.loads((folder / MANIFEST).read_text())["sha256"]
    assert sums == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("weights.bin", "meta é.json")
    }
    check_manifest(folder)


def test_a_manifest_written_again_does_not_list_itself(folder):
    before = (folder / MANIFEST).read_bytes()
    write_manifest(folder)
    assert (folder / MANIFEST).read_bytes() == before


@settings(max_examples=60)
@given(bit=st.integers(0, 8 * 1024 - 1))
def test_a_flipped_bit_is_found(folder, bit):
    file = folder / "weights.bin"
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    file.write_bytes(damaged)
    try:
        with pytest.raises(CorruptFileError, match=r"weights\.bin: its SHA-256"):
            check_manifest(folder)
    finally:
        file.write_bytes(whole)


def test_a_truncated_file_is_found(folder):
    os.truncate(folder / "weights.bin", 1000)
    with pytest.raises(CorruptFileError, match=r"weights\.bin: its SHA-256"):
        check_manifest(folder)


def test_a_missing_file_is_found(folder):
    (folder / "weights.bin").unlink()
    with pytest.raises(CorruptFileError, match=r"weights\.bin: named in the manifest and not there"):
        check_manifest(folder)


def test_a_missing_manifest_is_found(folder):
    (folder / MANIFEST).unlink()
    with pytest.raises(CorruptFileError, match="missing or unreadable"):
        check_manifest(folder)


@pytest.mark.parametrize(
    "name",
    ["../secret.txt", "sub/../../secret.txt", "{outside}", "..", ".", "", "sub/a.txt", "nul\0", "long" * 100, "\ud800"],
)
def test_a_manifest_that_names_anything_but_its_own_files_is_refused(name, tmp_path):
    folder, outside = tmp_path / "model", tmp_path / "secret.txt"
    (folder / "sub").mkdir(parents=True)
    for file in (outside, folder / "sub" / "a.txt"):
        file.write_text("secret")
    name = name.format(outside=outside)
    rewrite(folder, {name: hashlib.sha256(b"secret").hexdigest()})
    with pytest.raises(CorruptFileError):
        check_manifest(folder)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, min_size=1, max_size=3),
    max_leaves=6,
)


@given(sums=json_values.filter(lambda value: value not in ({}, [], "")))
def test_a_manifest_of_any_other_shape_is_corrupt(folder, sums):
    rewrite(folder, sums)
    with pytest.raises(CorruptFileError):
        check_manifest(folder)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b"{", b'{"sha256": [[1, 2]]}', b'{"sha256": [[[], 2]]}', b"\xff\xfe", b"[" * 200_000]
)
def test_a_manifest_that_is_no_manifest_is_corrupt(text, folder):
    (folder / MANIFEST).write_bytes(text)
    with pytest.raises(CorruptFileError):
        check_manifest(folder)
