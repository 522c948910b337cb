"""Trainings that are stopped and go on: the same bytes as without the stop, and refusals that say what differs."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import torch
import xarray as xr
from affine import Affine
from safetensors.torch import load_file, save_file
from torch import nn

import geoprospect as gp
from geoprospect.errors import CorruptFileError, DivergenceError, InputError, OutputError
from geoprospect.io.atomic import write_manifest
from geoprospect.models import checkpoints, model, training
from geoprospect.models.networks import Crop, build_network

pytestmark = pytest.mark.usefixtures("one_thread")


SMALL = "shufflenet_v2_x1_0"
GRID = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (48, 60))
DEPOSITS = [(8, 8), (8, 40), (22, 24), (38, 10), (40, 46), (24, 52)]


class Tiny(nn.Sequential):
    """Of a few weights, with all that a state may hold: statistics, dropout, a halo that is cut off."""

    def __init__(self, n_bands: int, norm: str, dropout: float | None) -> None:
        normalise = nn.BatchNorm2d(4) if norm == "batch" else nn.GroupNorm(2, 4)
        super().__init__(
            nn.Conv2d(n_bands, 4, 3), normalise, nn.ReLU(), Crop(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Dropout(dropout or 0.0), nn.Linear(4, 2),
        )  # fmt: skip


def build_tiny(
    name: str, n_bands: int, weights: Any = None, seed: int = 0, *, norm: str = "batch", dropout: float | None = None
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = Tiny(n_bands, norm, dropout)
    if weights is not None:
        network.load_state_dict(load_file(weights))
    return network


@contextlib.contextmanager
def tiny_networks() -> Iterator[None]:
    """Train and load networks of a few weights instead of torchvision's."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "build_network", build_tiny)
        patched.setattr(model, "build_network", build_tiny)
        yield


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    with tiny_networks():
        yield


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "build_network", build_network)
    monkeypatch.setattr(model, "build_network", build_network)


def make_survey() -> xr.Dataset:
    draws = np.random.default_rng(0)
    bands = {name: draws.normal(size=GRID.shape).astype(np.float32) for name in ("Cu", "Au")}
    return GRID.dataset(bands, {"Cu": {"units": "ppm"}, "Au": {"units": "ppb"}})


def cut(survey: xr.Dataset) -> gp.Windows:
    rows, cols = np.array(DEPOSITS).T
    deposits = gpd.GeoDataFrame(geometry=gpd.points_from_xy(GRID.x[cols], GRID.y[rows]), crs=GRID.crs)
    return gp.sample_windows(survey, deposits, 10, 8, 12, 14, rng=1)


SURVEY = make_survey()
WINDOWS = cut(SURVEY)
SETTINGS: dict[str, Any] = {"network": SMALL, "epochs": 3, "batch": 13, "dropout": 0.3, "device": "cpu", "rng": 0}


def train(windows: gp.Windows = WINDOWS, survey: xr.Dataset = SURVEY, **changed: Any) -> gp.ProspectivityModel:
    return training.fit_networks(windows, survey, **SETTINGS | changed)


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def model_bytes(made: gp.ProspectivityModel) -> bytes:
    states = b"".join(t.numpy().tobytes() for net in made.networks for t in net.state_dict().values())
    return states + repr(made.history.to_dict("records")).encode() + json.dumps(made.settings).encode()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[gp.ProspectivityModel, Path]:
    """Two networks trained without a stop, and the folder in which they were kept."""
    folder = tmp_path_factory.mktemp("whole") / "kept"
    return train(n_models=2, checkpoint=folder), folder


class StoppedError(Exception):
    """Whatever ends a training from outside."""


def train_until(number: int, epoch: int, what: type[BaseException] = StoppedError, **arguments: Any) -> None:
    """Train, and end it in the middle of this epoch of this network."""
    with pytest.MonkeyPatch.context() as patched:
        stop_in_epoch(patched, number, epoch, what)
        with pytest.raises(what):
            train(**arguments)


def stop_in_epoch(monkeypatch: pytest.MonkeyPatch, number: int, epoch: int, what: type[BaseException]) -> None:
    """End the training in the middle of this epoch of this network."""
    real = training.gather

    def ending(net: nn.Module, optimizer: Any, task: Any, now: int) -> Any:
        if (task.number, now) == (number, epoch):
            calls = []

            def later(*args: Any, **more: Any) -> Any:
                calls.append(1)
                if len(calls) == 2:
                    raise what
                return real(*args, **more)

            monkeypatch.setattr(training, "gather", later)
        return epoch_of(net, optimizer, task, now)

    epoch_of = training._epoch
    monkeypatch.setattr(training, "_epoch", ending)


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize("what", [StoppedError, KeyboardInterrupt], ids=["an error", "Ctrl-C"])
@pytest.mark.parametrize(("number", "epoch"), [(0, 2), (1, 1), (1, 3)])
def test_a_training_that_goes_on_after_a_stop_gives_the_bytes_of_one_without(
    number: int, epoch: int, what: type[BaseException], whole: tuple[gp.ProspectivityModel, Path], tmp_path: Path
) -> None:  # fmt: skip
    folder = tmp_path / "kept"
    train_until(number, epoch, what, n_models=2, checkpoint=folder)
    kept = gp.ProspectivityModel.load(folder)
    assert kept.history["epoch"].tolist() == ([1, 2, 3] * 2)[: 3 * number + epoch - 1]
    assert len(kept.networks) == number + (epoch > 1)
    again = train(n_models=2, checkpoint=folder)
    assert model_bytes(again) == model_bytes(whole[0])
    assert files_of(folder) == files_of(whole[1])


def test_what_is_kept_at_a_stop_is_the_last_whole_epoch(tmp_path: Path) -> None:
    two = train(epochs=2, schedule="constant")
    train_until(0, 3, StoppedError, epochs=9, schedule="constant", checkpoint=tmp_path / "kept")
    kept = gp.ProspectivityModel.load(tmp_path / "kept")
    for one, other in zip(kept.networks[0].state_dict().values(), two.networks[0].state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert not kept.networks[0].training


@pytest.mark.parametrize(
    ("before", "number", "epoch", "said"),
    [
        (None, 0, 1, "holds nothing yet, no epoch was finished; the same call begins anew"),
        (None, 0, 3, "holds the training up to epoch 2 of network 1 of 2; the same call goes on from there"),
        (None, 1, 1, "holds the training up to network 1 of 2; the same call goes on from there"),
        ((1, 2), 1, 2, "holds the training up to epoch 1 of network 2 of 2; the same call goes on from there"),
    ],
)
def test_an_interrupt_says_where_the_training_is_kept(
    before: tuple[int, int] | None, number: int, epoch: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is not None:
        train_until(*before, n_models=2, checkpoint=tmp_path / "kept")
    stop_in_epoch(monkeypatch, number, epoch, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(n_models=2, checkpoint=tmp_path / "kept")
    assert caught.value.__notes__ == [f"checkpoint={str(tmp_path / 'kept')!r}: {said}"]


def test_an_interrupt_of_the_last_writing_says_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = checkpoints.Checkpoint.write

    def interrupted(self: checkpoints.Checkpoint, kept: checkpoints.Kept, plan: Any) -> None:
        write(self, kept, plan)
        if kept.finished:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.Checkpoint, "due", lambda self: True)
    monkeypatch.setattr(checkpoints.Checkpoint, "write", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(checkpoint=tmp_path / "kept")
    (note,) = caught.value.__notes__
    assert "up to epoch 3 of network 1 of 1" in note


def test_an_interrupt_without_a_checkpoint_has_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_in_epoch(monkeypatch, 0, 2, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        train()
    assert not hasattr(caught.value, "__notes__")


def test_a_stop_before_the_first_epoch_leaves_nothing(tmp_path: Path) -> None:
    train_until(0, 1, KeyboardInterrupt, checkpoint=tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::geoprospect.errors.DataWarning")
@pytest.mark.parametrize(
    "more",
    [
        {"momentum": 0.0, "nesterov": False},
        {"norm": "group", "accumulate": 2, "prior": 0.2, "class_weight": None},
        {"recipe": "gao2022"},
        {"patience": 2, "epochs": 5},
        {"halo": 32, "halo_from": 0},
    ],
    ids=str,
)
def test_it_goes_on_the_same_whatever_the_recipe(more: dict[str, Any], tmp_path: Path) -> None:
    windows = dataclasses.replace(WINDOWS, size=8, crop=6) if "patience" in more else WINDOWS
    expected = train(windows, **more)
    train_until(0, 3, StoppedError, windows=windows, checkpoint=tmp_path / "kept", **more)
    assert model_bytes(train(windows, checkpoint=tmp_path / "kept", **more)) == model_bytes(expected)


@pytest.mark.usefixtures("real")
def test_a_real_network_goes_on_with_its_statistics_and_dropout(tmp_path: Path) -> None:
    more = {"network": "mobilenet_v2", "epochs": 2, "dropout": None}
    expected = train(**more)
    train_until(0, 2, checkpoint=tmp_path / "kept", **more)
    assert model_bytes(train(checkpoint=tmp_path / "kept", **more)) == model_bytes(expected)


def test_draws_of_barren_windows_go_on_with_theirs(tmp_path: Path) -> None:
    draw = np.where(WINDOWS.labels == 1, -1, np.arange(26) % 2)
    windows = dataclasses.replace(WINDOWS, draw=draw)
    expected = train(windows, epochs=2)
    train_until(1, 2, StoppedError, windows=windows, epochs=2, checkpoint=tmp_path / "kept")
    assert model_bytes(train(windows, epochs=2, checkpoint=tmp_path / "kept")) == model_bytes(expected)


def test_without_a_seed_the_training_goes_on_with_the_one_that_it_was_begun_with(tmp_path: Path) -> None:
    train_until(0, 3, StoppedError, checkpoint=tmp_path / "kept", rng=None)
    first = gp.ProspectivityModel.load(tmp_path / "kept")
    again = train(checkpoint=tmp_path / "kept", rng=None)
    assert again.seed == first.seed
    assert again.history["loss"].tolist()[:2] == first.history["loss"].tolist()


def test_a_finished_training_comes_back_at_once(
    whole: tuple[gp.ProspectivityModel, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, folder = whole
    before = files_of(folder)
    assert "training.safetensors" not in before
    monkeypatch.setattr(training, "build_network", lambda *args, **more: pytest.fail("a network was built"))
    monkeypatch.setattr(checkpoints.Checkpoint, "write", lambda *args: pytest.fail("it was written again"))
    assert model_bytes(train(n_models=2, checkpoint=folder)) == model_bytes(made)
    assert files_of(folder) == before


def test_a_folder_that_is_kept_is_a_model_that_predicts(whole: tuple[gp.ProspectivityModel, Path]) -> None:
    made, folder = whole
    loaded = gp.ProspectivityModel.load(folder)
    assert model_bytes(loaded) == model_bytes(made)
    here, there = (gp.predict_windows(one, SURVEY, WINDOWS, "cpu") for one in (made, loaded))
    assert here.tobytes() == there.tobytes()


def test_a_divergence_keeps_the_last_good_state_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = training._epoch

    def ruined(net: nn.Module, optimizer: Any, task: Any, epoch: int) -> dict[str, Any]:
        row = real(net, optimizer, task, epoch)
        if epoch == 3:
            next(iter(net.parameters())).data.fill_(float("nan"))
        return row

    monkeypatch.setattr(training, "_epoch", ruined)
    with pytest.raises(DivergenceError, match=r"epoch 3; .*of epoch 2 of network 1, is in '.*kept'") as caught:
        train(checkpoint=tmp_path / "kept")
    kept = gp.ProspectivityModel.load(tmp_path / "kept")
    assert kept.history["epoch"].tolist() == [1, 2]
    assert model_bytes(caught.value.model) == model_bytes(kept)


# ---------------------------------------------------------------- killed

# One process loads the libraries and then forks a training again and again, killing it at random moments.
KILLED = """
import os, pathlib, random, signal, sys, time
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
import test_checkpoints as t
from geoprospect.models import checkpoints
checkpoints._SECONDS, checkpoints._SHARE = 0.0, 0  # written after every epoch
folder, luck = pathlib.Path(sys.argv[2]), random.Random(int(sys.argv[3]))
torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1).step()  # loads much when it is first used
killed = 0
with t.tiny_networks():
    while True:
        child = os.fork()
        if child == 0:
            t.train(checkpoint=folder, **t.LONG)
            os._exit(0)
        limit = time.monotonic() + luck.uniform(0.1, 0.6) + 0.05 * killed  # so that it ends on any machine
        while (done := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < limit:
            time.sleep(0.002)
        if done[0]:
            break
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        killed += 1
        if folder.exists():
            t.gp.ProspectivityModel.load(folder)  # whole at every moment
print(killed, done[1])
"""
LONG: dict[str, Any] = {"n_models": 2, "epochs": 16}


@pytest.mark.parametrize("luck", [1, *(pytest.param(luck, marks=pytest.mark.slow) for luck in range(2, 12))])
def test_a_training_that_is_killed_again_and_again_gives_the_bytes_of_one_without(luck: int, tmp_path: Path) -> None:
    train(checkpoint=tmp_path / "whole", **LONG)
    folder = tmp_path / "kept"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(folder), str(luck)],
        capture_output=True, text=True, check=False, env=environment, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    killed, status = map(int, result.stdout.split())
    assert status == 0
    assert killed >= 1  # how many depends on how fast the machine is
    assert files_of(folder) == files_of(tmp_path / "whole")


def test_a_writer_killed_between_its_two_renames_has_lost_nothing(
    whole: tuple[gp.ProspectivityModel, Path], tmp_path: Path
) -> None:
    shutil.copytree(whole[1], tmp_path / ".kept-0a1b2c3d-old")
    shutil.copytree(whole[1], tmp_path / ".kept-0a1b2c3d")
    (tmp_path / ".kept-of-mine").mkdir()
    checkpoint = checkpoints.Checkpoint(tmp_path / "kept")
    assert files_of(tmp_path / "kept") == files_of(whole[1])
    assert checkpoint.seed() == whole[0].seed
    assert sorted(path.name for path in tmp_path.iterdir()) == [".kept-0a1b2c3d", ".kept-of-mine", "kept"]


def test_what_a_killed_writer_left_is_cleared_away_when_it_is_old(
    whole: tuple[gp.ProspectivityModel, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    shutil.copytree(whole[1], folder)
    old = time.time() - 2 * checkpoints._STALE
    for name in (".kept-00000000", ".kept-00000001-old", ".kept-mine", ".other-00000000"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (old, old))
    (tmp_path / ".kept-00000002").mkdir()  # of a writer at work
    checkpoints.Checkpoint(folder)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".kept-00000002", ".kept-mine", ".other-00000000", "kept"]


@pytest.mark.slow
def test_ctrl_c_in_a_process_ends_it_with_the_state_kept(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    # A shell that runs the tests in the background has them ignore the signal, and their children too.
    code = """
import pathlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, sys.argv[1])
import test_checkpoints as t
with t.tiny_networks():
    t.train(epochs=10**6, checkpoint=pathlib.Path(sys.argv[2]), progress=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(folder)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = ""
        while "loss=" not in said:  # the first epoch is done
            said += process.stderr.read(1)
        process.send_signal(signal.SIGINT)
        try:
            said = process.communicate(timeout=60)[1]
        finally:
            process.kill()
        assert process.returncode != 0
    assert "KeyboardInterrupt" in said
    assert "the same call goes on from there" in said
    kept = gp.ProspectivityModel.load(folder)
    assert len(kept.history) >= 1
    assert (folder / "training.safetensors").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


# ---------------------------------------------------------------- how often


def test_it_is_written_no_more_often_than_said_and_then_seldom_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: clock[0])
    checkpoint = checkpoints.Checkpoint(tmp_path / "kept")
    assert not checkpoint.due()
    clock[0] += 29.9
    assert not checkpoint.due()
    clock[0] += 0.2
    assert checkpoint.due()
    real = checkpoints.published

    def slow(*args: Any) -> Any:
        clock[0] += 10
        return real(*args)

    monkeypatch.setattr(checkpoints, "published", slow)
    made = train(epochs=1)
    checkpoint.write(checkpoints.Kept(made, made.seed, False, 0, 1, {}, None), {})
    clock[0] += 199
    assert not checkpoint.due()  # writing took 10 s: not again before 200 s
    clock[0] += 2
    assert checkpoint.due()


def test_a_training_shorter_than_that_is_written_once_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bool] = []
    real = checkpoints.Checkpoint.write

    def spy(self: checkpoints.Checkpoint, kept: checkpoints.Kept, plan: Any) -> None:
        written.append(kept.finished)
        real(self, kept, plan)

    monkeypatch.setattr(checkpoints.Checkpoint, "write", spy)
    train(checkpoint=tmp_path / "kept")
    assert written == [True]


# ---------------------------------------------------------------- refusals


def moved(windows: gp.Windows) -> gp.Windows:
    cols = windows.cols.copy()
    cols[-1] += 1 if cols[-1] < 40 else -1
    return dataclasses.replace(windows, cols=cols)


def louder(survey: xr.Dataset) -> xr.Dataset:
    changed = survey.copy(deep=True)
    changed["Cu"].values[WINDOWS.rows[0], WINDOWS.cols[0]] += 1
    return changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epochs": 4}, r"epochs \(3 there, 4 now\)"),
        ({"lr": 0.5}, r"lr \(0.01 there, 0.5 now\)"),
        ({"network": "mobilenet_v2"}, rf"network \('{SMALL}' there, 'mobilenet_v2' now\)"),
        ({"n_models": 3}, r"n_models \(2 there, 3 now\)"),
        ({"rng": 1}, r"rng \(\d+ there, \d+ now\)"),
        ({"windows": moved(WINDOWS)}, r"differ in .*windows"),
        ({"windows": WINDOWS[:-1]}, r"windows.*n_windows \(26 there, 25 now\)"),
        ({"survey": louder(SURVEY)}, r"differ in survey;"),
        ({"survey": SURVEY[["Cu"]]}, r"bands \(\['Cu', 'Au'\] there, \['Cu'\] now\)"),
        ({"dropout": None, "lr": 0.5}, r"lr .*, dropout \(0.3 there, None now\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else ", ".join(value),
)
def test_other_arguments_are_refused_with_what_differs_and_the_cure(
    changed: dict[str, Any], message: str, whole: tuple[gp.ProspectivityModel, Path]
) -> None:
    before = files_of(whole[1])
    with pytest.raises(InputError, match=message) as caught:
        train(**{"n_models": 2, "checkpoint": whole[1], **changed})
    assert "another folder for a new training" in str(caught.value)
    assert files_of(whole[1]) == before


def test_other_versions_and_other_weights_to_start_from_are_refused(
    whole: tuple[gp.ProspectivityModel, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = tmp_path / "start.safetensors"
    save_file({k: t.contiguous() for k, t in whole[0].networks[0].state_dict().items()}, start)
    with pytest.raises(InputError, match=r"weights \(None there, '[0-9a-f]{64}' now\)"):
        train(n_models=2, checkpoint=whole[1], weights=start)
    monkeypatch.setattr(training, "__version__", "99")
    with pytest.raises(InputError, match=r"geoprospect \('.*' there, '99' now\)"):
        train(n_models=2, checkpoint=whole[1])


def test_a_folder_that_holds_something_else_is_refused_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "stack_bands", lambda *args: pytest.fail("it had begun"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.docx").write_bytes(b"years")
    (tmp_path / "file").write_bytes(b"")
    for name, message in (
        ("full", "holds no training; take a new name"),
        ("file", "holds no training; take a new name"),
        ("nowhere/kept", "does not exist; make it first"),
    ):
        with pytest.raises(OutputError, match=message):
            train(checkpoint=tmp_path / name)
    assert (tmp_path / "full" / "thesis.docx").read_bytes() == b"years"


def test_a_model_that_was_saved_is_no_training_to_go_on_with(
    whole: tuple[gp.ProspectivityModel, Path], tmp_path: Path
) -> None:
    folder = whole[0].save(tmp_path / "model")
    with pytest.raises(OutputError, match="holds no training"):
        train(checkpoint=folder)


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    train(epochs=1, checkpoint=tmp_path / "kept")
    assert len(gp.ProspectivityModel.load(tmp_path / "kept").networks) == 1


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints.os, "access", lambda *args: False)  # root may write anywhere
    with pytest.raises(OutputError, match="cannot be written to"):
        train(checkpoint=tmp_path / "kept")


# ---------------------------------------------------------------- damage


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """A training stopped in its third epoch."""
    train_until(0, 3, StoppedError, checkpoint=tmp_path / "kept")
    return tmp_path / "kept"


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the numbers, and the checksums with them: what only a hostile hand does."""
    file = folder / "training.json"
    numbers = json.loads(file.read_text(encoding="utf-8"))
    change(numbers)
    file.write_text(json.dumps(numbers), encoding="utf-8")
    write_manifest(folder)


@pytest.mark.parametrize("name", ["training.json", "training.safetensors", "model.json", "network-0.safetensors"])
def test_a_file_that_was_changed_is_not_gone_on_with(name: str, half: Path) -> None:
    content = bytearray((half / name).read_bytes())
    content[-2] ^= 1
    (half / name).write_bytes(content)
    with pytest.raises(CorruptFileError):
        train(checkpoint=half)


def test_a_plan_that_was_damaged_is_not_taken_for_other_arguments(half: Path) -> None:
    file = half / "training.json"
    damaged = file.read_text(encoding="utf-8").replace('"epochs": 3', '"epochs": 7')
    file.write_text(damaged, encoding="utf-8")
    with pytest.raises(CorruptFileError, match="SHA-256"):
        train(checkpoint=half)


@pytest.mark.parametrize(
    "change",
    [
        lambda numbers: numbers.pop("member"),
        lambda numbers: numbers.update(epoch="two"),
        lambda numbers: numbers.update(epoch=-1),
        lambda numbers: numbers.update(member=7),
        lambda numbers: numbers.update(best=[1]),
        lambda numbers: numbers.update(best="x"),
        lambda numbers: numbers.update(seed=None),
        lambda numbers: numbers.update(plan=[]),
        lambda numbers: numbers.update(format=2),
        lambda numbers: numbers.pop("format"),
    ],
)
def test_numbers_that_make_no_sense_are_a_corrupt_file(change: Callable[[dict[str, Any]], Any], half: Path) -> None:
    edit(half, change)
    with pytest.raises(CorruptFileError):
        train(checkpoint=half)


def test_tensors_that_do_not_fit_the_network_are_a_corrupt_file(half: Path) -> None:
    tensors = load_file(half / "training.safetensors")
    for change in (
        lambda t: t.pop("weights/7.bias"),
        lambda t: t.pop("momentum/7.bias"),
        lambda t: t.update({"weights/7.bias": torch.zeros(3)}),
        lambda t: t.update({"momentum/7.bias": torch.zeros(3)}),
        lambda t: t.clear(),
    ):
        changed = dict(tensors)
        change(changed)
        save_file(changed, half / "training.safetensors")
        write_manifest(half)
        with pytest.raises(CorruptFileError):
            train(checkpoint=half)


def test_nothing_in_the_folder_is_a_pickle(half: Path) -> None:
    assert {file.suffix for file in half.iterdir()} == {".json", ".safetensors"}


def test_a_checksum_knows_type_shape_and_values() -> None:
    ones = np.ones((2, 3), dtype=np.float32)
    sums = [checkpoints.checksum(a) for a in (ones, ones.T, ones * 2, ones.astype(np.float64), ones.ravel())]
    assert len(set(sums)) == 5
    assert checkpoints.checksum(np.arange(6).reshape(2, 3).T) == checkpoints.checksum(
        np.ascontiguousarray(np.arange(6).reshape(2, 3).T)
    )
    assert checkpoints.checksum(ones, ones) != checkpoints.checksum(ones)


@pytest.mark.cuda
@pytest.mark.usefixtures("real")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_a_training_on_a_gpu_goes_on_with_the_bytes_of_one_without_a_stop(precision: str, tmp_path: Path) -> None:
    more = {"device": "cuda", "n_models": 2, "precision": precision, "network": "resnet18"}
    expected = train(**more)
    train_until(1, 2, KeyboardInterrupt, checkpoint=tmp_path / "kept", **more)
    assert model_bytes(train(checkpoint=tmp_path / "kept", **more)) == model_bytes(expected)
