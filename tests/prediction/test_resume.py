"""The folder of a map that is being made: the same bytes after any stop, and one writer at a time."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
import xarray as xr
from disk_maps import BANDS, StoppedError, as_model, make_survey, same, stopped_after, tiny

import geoprospect as gp
from geoprospect.errors import InputError, OutputError
from geoprospect.io import disk_sources
from geoprospect.prediction import engine
from geoprospect.prediction import resume as resume_module

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("n", [0, 1, 5, 11])
def test_after_a_stop_the_same_call_makes_what_is_missing_and_the_same_bytes(
    n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, source = as_model(), gp.write_cog(make_survey(), tmp_path / "survey.tif")
    whole = gp.predict_to_cog(model, source, tmp_path / "whole.tif", 3, "cpu").read_bytes()
    with monkeypatch.context() as patch:
        stopped_after(n, patch)
        with pytest.raises(StoppedError):
            gp.predict_to_cog(model, source, tmp_path / "m.tif", 3, "cpu")
    assert not (tmp_path / "m.tif").exists()
    made: list[Any] = []
    predicted = engine.Engine._predicted

    def watched(self: engine.Engine, ground: engine.Ground, tile: engine.Tile, *rest: Any) -> Any:
        made.append(tile)
        return predicted(self, ground, tile, *rest)

    monkeypatch.setattr(engine.Engine, "_predicted", watched)
    assert gp.predict_to_cog(model, source, tmp_path / "m.tif", 3, "cpu").read_bytes() == whole
    assert len(made) == gp.plan_inference(model, source, 3, "cpu").n_tiles - n
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize(
    "what", ["a line that was cut off", "a line of nonsense", "values that were lost", "a band that is gone"]
)
def test_what_is_not_there_as_it_was_entered_is_made_again(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, survey, folder = as_model(), make_survey(), tmp_path / "m.tif.partial"
    whole = gp.predict_to_cog(model, survey, tmp_path / "whole.tif", 3, "cpu").read_bytes()
    with monkeypatch.context() as patch:
        stopped_after(4, patch)
        with pytest.raises(StoppedError):
            gp.predict_to_cog(model, survey, tmp_path / "m.tif", 3, "cpu")
    lines = folder / "journal.jsonl"
    if what == "a line that was cut off":
        lines.write_text(lines.read_text()[:-20])
    elif what == "a line of nonsense":
        lines.write_bytes(lines.read_bytes() + b'{"tile": [0]}\n[]\n\x00\xff')
    elif what == "a band that is gone":
        (folder / "valid.f32").unlink()
    else:
        values = np.memmap(folder / "valid.f32", np.float32, "r+", shape=gp.Grid.of(survey).strided(8, 3).shape)
        values[1, 1] = 7
        values.flush()
    assert gp.predict_to_cog(model, survey, tmp_path / "m.tif", 3, "cpu").read_bytes() == whole


@pytest.mark.usefixtures("small_tiles")
def test_a_map_that_was_begun_with_something_else_is_not_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = as_model(), tmp_path / "m.tif"
    source = gp.write_cog(make_survey(), tmp_path / "survey.tif")
    with monkeypatch.context() as patch:
        stopped_after(3, patch)
        with pytest.raises(StoppedError):
            gp.predict_to_cog(model, source, path, 3, "cpu")
    with pytest.raises(InputError, match=r"m.tif.partial holds .* another settings \(stride\); .*resume=False"):
        gp.predict_to_cog(model, source, path, 4, "cpu")
    with pytest.raises(InputError, match=r"another settings \(min_valid\)"):
        gp.predict_to_cog(model, source, path, 3, "cpu", min_valid=0.1)
    with pytest.raises(InputError, match=r"another model \(weights\)"):
        gp.predict_to_cog(as_model(tiny(1), tiny(3)), source, path, 3, "cpu")
    with pytest.raises(InputError, match=r"another model \(offset\)"):
        gp.predict_to_cog(as_model(offset=np.array([8.0, 7.1])), source, path, 3, "cpu")
    with pytest.raises(InputError, match=r"another survey \(bands, grid, kind, units\)"):
        gp.predict_to_cog(model, make_survey(), path, 3, "cpu")
    os.utime(source, ns=(1, 1))
    with pytest.raises(InputError, match=r"another survey \(bands\)"):
        gp.predict_to_cog(model, source, path, 3, "cpu")
    anew = gp.predict_to_cog(model, source, path, 4, "cpu", resume=False)
    assert anew.read_bytes() == gp.predict_to_cog(model, source, tmp_path / "n.tif", 4, "cpu").read_bytes()


def test_a_changed_survey_in_memory_is_another_one() -> None:
    survey = make_survey()
    before = disk_sources.open_source(survey).identity(BANDS)
    assert disk_sources.open_source(survey.copy(deep=True)).identity(BANDS) == before
    changed = survey.copy(deep=True)
    changed["Cu"][3, 3] = 123
    assert disk_sources.open_source(changed).identity(BANDS) != before


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    survey, files = make_survey(), {}
    for name in BANDS:
        (tmp_path / name).mkdir()
        files[name] = gp.write_geotiff(survey[[name]], tmp_path / name / "x.tif")
    before = disk_sources.open_source(files).identity(BANDS)
    assert disk_sources.open_source(files).identity(BANDS) == before
    os.utime(files["Cu"], ns=(1, 1))
    changed = disk_sources.open_source(files).identity(BANDS)
    assert changed["bands"]["Cu"] != before["bands"]["Cu"]
    assert changed["bands"]["Au"] == before["bands"]["Au"]
    (tmp_path / "Au" / "x.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")  # as QGIS leaves one
    assert disk_sources.open_source(files).identity(BANDS)["bands"]["Au"] != before["bands"]["Au"]


def test_a_survey_that_xarray_has_not_read_is_not_read_to_tell_it_apart(tmp_path: Path) -> None:
    gp.write_zarr(make_survey(), tmp_path / "s.zarr")
    lazily = xr.open_zarr(tmp_path / "s.zarr", decode_coords="all", chunks=None)
    before = disk_sources.open_source(lazily).identity(BANDS)
    assert not any(lazily[name].variable._in_memory for name in BANDS)
    assert disk_sources.open_source(lazily).identity(BANDS) == before


def test_a_fault_of_the_survey_is_not_blamed_on_the_disk_of_the_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise FileNotFoundError(2, "No such file", "gone.nc")

    monkeypatch.setattr(disk_sources.InMemory, "read", fails)
    with pytest.raises(FileNotFoundError, match=r"gone\.nc"):
        gp.predict_to_cog(as_model(), make_survey(), tmp_path / "m.tif", 3, "cpu")


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "m.tif.partial"
    (folder / "thesis").mkdir(parents=True)
    for resume in (True, False):
        with pytest.raises(InputError, match=r"m\.tif\.partial holds thesis, which is of no map"):
            gp.predict_to_cog(as_model(), make_survey(), tmp_path / "m.tif", 3, "cpu", resume=resume)
    assert (folder / "thesis").is_dir()


@pytest.mark.usefixtures("small_tiles")
def test_what_else_is_put_into_the_folder_stays_when_the_map_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stopped_after(1, patch)
        with pytest.raises(StoppedError):
            gp.predict_to_cog(as_model(), make_survey(), tmp_path / "m.tif", 3, "cpu")
    note = tmp_path / "m.tif.partial" / "notes.txt"
    note.write_text("mine")
    same(gp.read_survey(gp.predict_to_cog(as_model(), make_survey(), tmp_path / "m.tif", 3, "cpu")),
         gp.predict(as_model(), make_survey(), 3, "cpu"))  # fmt: skip
    assert note.read_text() == "mine"
    assert [file.name for file in note.parent.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    "plan", ['{"fingerprint"', '["fingerprint", "settings"]', '{"fingerprint": [], "settings": {}}']
)
def test_a_plan_that_was_not_finished_is_none(plan: str, tmp_path: Path) -> None:
    folder = tmp_path / "m.tif.partial"
    folder.mkdir()
    (folder / "plan.json").write_text(plan)
    (folder / "journal.jsonl").write_text("{}")
    (folder / "old.f32").write_bytes(b"left over")
    path = gp.predict_to_cog(as_model(), make_survey(), tmp_path / "m.tif", 3, "cpu")
    same(gp.read_survey(path), gp.predict(as_model(), make_survey(), 3, "cpu"))


def test_two_writers_of_one_map_are_one_too_many(tmp_path: Path) -> None:
    folder = tmp_path / "m.tif.partial"
    with resume_module._locked(folder), pytest.raises(OutputError, match=r"another process is writing m\.tif\.partial"):
        gp.predict_to_cog(as_model(), make_survey(), tmp_path / "m.tif", 3, "cpu")
    gp.predict_to_cog(as_model(), make_survey(), tmp_path / "m.tif", 3, "cpu")


HOLDER = """
import os, subprocess, sys, time
from pathlib import Path
from geoprospect.prediction import resume as resume_module
print("ready", flush=True)
sys.stdin.readline()
try:
    with resume_module._locked(Path(sys.argv[1])):
        if not (gone := os.fork()):
            sys.exit()  # by way of all that is open
        os.waitpid(gone, 0)
        if not (forked := os.fork()):
            time.sleep(60)
            os._exit(0)
        spawned = subprocess.Popen(["sleep", "60"], close_fds=False)
        print(forked, spawned.pid, flush=True)
        sys.stdin.readline()
except OSError as err:
    print(err, flush=True)
"""


def test_of_two_processes_that_start_at_once_one_writes_and_a_kill_ends_its_hold_but_no_child_has_it(
    tmp_path: Path,
) -> None:
    folder, children = tmp_path / "m.tif.partial", []
    call = [sys.executable, "-W", "ignore", "-c", HOLDER, str(folder)]
    with (
        subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one,
        subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
    ):
        try:
            assert [process.stdout.readline() for process in (one, other)] == ["ready\n"] * 2
            for process in (one, other):
                process.stdin.write("\n")
                process.stdin.flush()
            said = {process: process.stdout.readline() for process in (one, other)}
            refused, held = sorted(said, key=lambda process: said[process].startswith("path: "))[::-1]
            assert said[refused].startswith("path: another process is writing m.tif.partial; wait for it")
            children = [int(child) for child in said[held].split()]
            with pytest.raises(OutputError, match="another process is writing"), resume_module._locked(folder):
                pass  # although a child went
            held.kill()
            held.wait()
            with resume_module._locked(folder):  # although two are there
                for child in children:
                    os.kill(child, 0)
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)
            one.kill()
            other.kill()


def test_nobody_is_let_in_by_the_lock_of_a_folder_that_was_removed(tmp_path: Path) -> None:
    folder, alone, times, met = tmp_path / "m.tif.partial", threading.Lock(), [0], []

    def write() -> None:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            with contextlib.suppress(OutputError), resume_module._locked(folder):
                if not alone.acquire(blocking=False):
                    met.append(threading.current_thread().name)
                    continue
                times[0] += 1
                time.sleep(0.0005)
                alone.release()
                shutil.rmtree(folder, ignore_errors=True)

    writers = [threading.Thread(target=write) for _ in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not met
    assert times[0] > 20


def test_where_no_file_that_is_held_can_be_removed_the_folder_goes_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where a lock is removed when it falls."""

    class Lock(filelock.FileLock):
        def release(self, force: bool = False) -> None:
            super().release(force)
            Path(self.lock_file).unlink(missing_ok=True)

    monkeypatch.setattr(resume_module, "FileLock", Lock)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    path = gp.predict_to_cog(as_model(), make_survey(), tmp_path / "m.tif", 3, "cpu")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_where_the_disk_knows_no_locks_none_is_pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", missing)
    with pytest.raises(OutputError, match=r"m\.tif\.partial could not be written .*Function not implemented"):
        gp.predict_to_cog(as_model(), make_survey(), tmp_path / "m.tif", 3, "cpu")


@pytest.mark.usefixtures("small_tiles")
def test_the_batch_to_which_memory_led_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    by_window = engine.Engine._by_window

    def small(self: engine.Engine, *args: Any) -> None:
        batches.append(self.batch)
        self.batch = 16
        by_window(self, *args)

    monkeypatch.setattr(engine.Engine, "_by_window", small)
    for n in (3, 4, 2):
        with monkeypatch.context() as patch:
            stopped_after(n, patch)
            with pytest.raises(StoppedError):
                gp.predict_to_cog(as_model(), make_survey(), tmp_path / "m.tif", 3, "cpu")
    assert batches[0] == 64
    assert set(batches[1:]) == {16}


SCRIPT = """
import sys, time
sys.path.insert(0, {here!r})
import torch
torch.set_num_threads(1)
from disk_maps import as_model, small
small()
import geoprospect as gp
print("begun", flush=True)
gp.predict_to_cog(as_model(), {source!r}, {path!r}, 2, "cpu")
"""


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("kills", [1, pytest.param(25, marks=pytest.mark.slow)])
def test_a_map_that_was_killed_at_any_moment_has_the_same_bytes(kills: int, tmp_path: Path) -> None:
    source = gp.write_cog(make_survey(), tmp_path / "survey.tif")
    whole = gp.predict_to_cog(as_model(), source, tmp_path / "whole.tif", 2, "cpu").read_bytes()
    path, draws, killed = tmp_path / "m.tif", np.random.default_rng(0), 0
    script = SCRIPT.format(here=str(Path(__file__).parents[1]), source=str(source), path=str(path))
    for _ in range(kills):
        if path.exists():
            path.unlink()
        call = [sys.executable, "-W", "ignore", "-c", script]
        with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            time.sleep(draws.uniform(0, 0.6))
            process.send_signal(signal.SIGKILL)
        killed += process.returncode == -signal.SIGKILL
        assert not path.exists() or path.read_bytes() == whole
    assert killed
    if path.exists():
        path.unlink()
    assert gp.predict_to_cog(as_model(), source, path, 2, "cpu").read_bytes() == whole
    assert not list(tmp_path.glob("*.partial"))
