"""Models on disk, and models against surveys that they were not made for."""

import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from affine import Affine
from safetensors.torch import load_file, save_file

import geoprospect as gp
from geoprospect.errors import CorruptFileError, InputError, MissingFileError, NameNotFoundError, OutputError
from geoprospect.io.atomic import MANIFEST, write_manifest
from geoprospect.models import model as model_module
from geoprospect.models.model import ProspectivityModel
from geoprospect.models.networks import build_network

pytestmark = pytest.mark.usefixtures("one_thread")


SMALL = "shufflenet_v2_x1_0"
GRID = gp.Grid("EPSG:32649", Affine(100, 0, 500_000, 0, -100, 2_400_000), (20, 24))
UNITS = {"Cu": "ppm", "Au": "ppb"}


def make_survey(grid: gp.Grid = GRID, names: tuple[str, ...] = ("Cu", "Au"), **units: str) -> xr.Dataset:
    draws = {name: np.random.default_rng(ord(name[0])) for name in names}
    bands = {name: draw.lognormal(2, 0.5, grid.shape).astype(np.float32) for name, draw in draws.items()}
    return grid.dataset(bands, {name: {"units": (UNITS | units).get(name, "")} for name in names})


def make_model(n_models: int = 2, seed: int = 0, norm: str = "batch") -> ProspectivityModel:
    """A model that was never trained; its head is made loud, so that probabilities differ."""
    networks = []
    for i in range(n_models):
        network = build_network(SMALL, 2, seed=seed + i, norm=norm).eval()
        network.get_submodule("fc").weight.data *= 50
        networks.append(network)
    return ProspectivityModel(
        networks=tuple(networks), network=SMALL, bands=("Cu", "Au"), units=("ppm", "ppb"),
        offset=np.array([8.1, 7.9]), scale=np.array([4.2, 1 / 3]), size=10, crop=8, cell_size=(100.0, 100.0), seed=7,
        history=pd.DataFrame({"model": [0, 1], "epoch": [1, 1], "loss": [0.7, 0.1 + 0.2], "accuracy": [0.5, 0.25],
                              "learning_rate": [0.01, 0.01]}),
        settings={"recipe": "gao2022", "epochs": 1, "lr": 0.01}, norm=norm,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model() -> ProspectivityModel:
    return make_model()


@pytest.fixture(scope="module")
def files(model: ProspectivityModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What `save` writes, by name."""
    folder = model.save(tmp_path_factory.mktemp("saved") / "model")
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def folder(files: dict[str, bytes], tmp_path: Path) -> Path:
    """A saved model that a test may damage."""
    path = tmp_path / "model"
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# ---------------------------------------------------------------- round trip


def test_a_model_that_was_saved_predicts_the_same_bytes(model: ProspectivityModel, folder: Path) -> None:
    survey = make_survey()
    before, after = (gp.predict(one, survey, 3, "cpu") for one in (model, ProspectivityModel.load(folder)))
    assert before["probability"].values.std() > 0
    for name in ("probability", "std", "valid"):
        assert before[name].values.tobytes() == after[name].values.tobytes()


def test_everything_that_describes_a_model_comes_back(model: ProspectivityModel, folder: Path) -> None:
    back = ProspectivityModel.load(folder)
    for name in ("network", "bands", "units", "size", "crop", "cell_size", "seed", "settings", "norm"):
        assert getattr(back, name) == getattr(model, name)
    assert back.offset.tobytes() == model.offset.tobytes()
    assert back.scale.tobytes() == model.scale.tobytes()
    pd.testing.assert_frame_equal(back.history, model.history)
    assert repr(back) == repr(model)
    assert not any(network.training for network in back.networks)


def test_a_model_keeps_its_calibration_and_its_maps_have_a_band_of_it(
    model: ProspectivityModel, tmp_path: Path
) -> None:
    draws = np.random.default_rng(0)
    labels = np.repeat([1, 0], 60)
    scores = 1 / (1 + np.exp(-3 * draws.normal(np.where(labels, 0.6, -0.6), 1)))
    calibration = gp.calibrate(labels, scores, np.arange(120), rng=0)
    calibrated = model.calibrated(calibration)
    assert model.calibration is None
    read = ProspectivityModel.load(calibrated.save(tmp_path / "model"))
    assert read.calibration == calibration
    result = gp.predict(read, make_survey(), 4, "cpu")
    assert list(result.data_vars) == ["probability", "valid", "std", "calibrated"]
    np.testing.assert_array_equal(result.calibrated, calibration.apply(result.probability.to_numpy()))
    assert abs(result.calibrated - result.probability).max() > 1e-4
    assert result.calibrated.attrs["long_name"] == calibration.apply(result.probability).attrs["long_name"]
    with pytest.raises(InputError, match="calibrated already"):
        calibration.apply(result.calibrated)
    with pytest.raises(InputError, match=r"calibration: is a float, needs a Calibration"):
        model.calibrated(1.4)  # type: ignore[arg-type]


def test_a_saved_model_holds_only_safetensors_and_json(folder: Path) -> None:
    assert {file.suffix for file in folder.iterdir()} == {".safetensors", ".json"}
    assert json.loads((folder / "model.json").read_text(encoding="utf-8"))["n_models"] == 2


def test_whoever_may_read_the_description_of_a_model_may_read_its_weights(folder: Path) -> None:
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1


def test_saving_twice_gives_the_same_files(model: ProspectivityModel, files: dict[str, bytes], tmp_path: Path) -> None:
    assert contents(model.save(tmp_path / "ein Modell, größer")) == files


def test_a_long_list_of_bands_is_cut_in_the_repr(model: ProspectivityModel) -> None:
    many = ProspectivityModel(**{**vars(model), "bands": tuple(f"B{i}" for i in range(10))})
    assert "on 10 bands (B0, B1, B2, B3, B4, B5, B6, B7, …)" in repr(many)


def test_a_model_with_group_normalisation_comes_back_with_it(tmp_path: Path) -> None:
    model, survey = make_model(norm="group"), make_survey()
    back = ProspectivityModel.load(model.save(tmp_path / "model"))
    assert back.norm == "group"
    before, after = (gp.predict(one, survey, 3, "cpu")["probability"].values for one in (model, back))
    assert before.std() > 0
    assert before.tobytes() == after.tobytes()


def test_a_description_from_before_there_was_a_choice_means_batch_normalisation(folder: Path) -> None:
    meta = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert meta.pop("norm") == "batch"
    (folder / "model.json").write_text(json.dumps(meta), encoding="utf-8")
    write_manifest(folder)
    assert ProspectivityModel.load(folder).norm == "batch"


def test_normalisation_has_a_default_for_those_who_put_a_model_together_by_hand(model: ProspectivityModel) -> None:
    without = {name: value for name, value in vars(model).items() if name != "norm"}
    assert ProspectivityModel(**without).norm == "batch"


@pytest.mark.parametrize("listed", [True, False])
def test_further_files_in_a_folder_do_not_keep_a_model_from_loading(
    listed: bool, model: ProspectivityModel, folder: Path
) -> None:
    save_file({"momentum": torch.ones(3)}, folder / "state.safetensors")
    (folder / "state.json").write_text('{"epoch": 3}', encoding="utf-8")
    (folder / "more").mkdir()
    if listed:
        (folder / "more").rmdir()
        write_manifest(folder)
    back = ProspectivityModel.load(folder)
    assert repr(back) == repr(model)
    assert len(back.networks) == 2


def test_further_files_that_the_manifest_names_are_checked_too(folder: Path) -> None:
    (folder / "state.json").write_text('{"epoch": 3}', encoding="utf-8")
    write_manifest(folder)
    (folder / "state.json").write_text('{"epoch": 4}', encoding="utf-8")
    with pytest.raises(CorruptFileError, match=r"state\.json"):
        ProspectivityModel.load(folder)


# ---------------------------------------------------------------- where it is written


def test_an_older_model_is_replaced_and_nothing_is_left_beside_it(folder: Path) -> None:
    newer = make_model(n_models=1, seed=30)
    newer.save(folder)
    assert "network-1.safetensors" not in contents(folder)
    back = ProspectivityModel.load(folder)
    for key, tensor in newer.networks[0].state_dict().items():
        assert torch.equal(back.networks[0].state_dict()[key], tensor)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("failing", ["save_file", "write_manifest", "_same_weights"])
def test_an_older_model_stays_whole_when_saving_a_newer_one_fails(
    failing: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, calls, real = contents(folder), [], getattr(model_module, failing)

    def full_disk(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == (2 if failing == "save_file" else 1):
            raise OSError(28, "No space left on device")
        return real(*args)

    monkeypatch.setattr(model_module, failing, full_disk)
    with pytest.raises(OutputError, match="No space left"):
        make_model(seed=30).save(folder)
    assert calls
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_model_with_weights_that_are_not_finite_is_not_saved(tmp_path: Path) -> None:
    sick = make_model(n_models=1)
    sick.networks[0].state_dict()["fc.weight"][0, 0] = float("nan")
    with pytest.raises(OutputError, match=r"fc\.weight"):
        sick.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_else_in_it_is_not_touched(model: ProspectivityModel, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(OutputError, match="holds no model"):
        model.save(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_not_replaced_by_a_model(model: ProspectivityModel, tmp_path: Path) -> None:
    (tmp_path / "model").write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match="holds no model"):
        model.save(tmp_path / "model")
    assert (tmp_path / "model").read_text(encoding="utf-8") == "a file"


def test_a_folder_in_a_folder_that_is_not_there_is_refused(model: ProspectivityModel, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist; make it first"):
        model.save(tmp_path / "absent" / "model")


# ---------------------------------------------------------------- damaged, poisoned, foreign


@pytest.mark.parametrize("name", ["network-0.safetensors", "network-1.safetensors", "model.json", "manifest.json"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_one_flipped_bit_in_any_file_is_noticed(name: str, share: float, folder: Path) -> None:
    data = bytearray((folder / name).read_bytes())
    data[int(share * len(data))] ^= 4
    (folder / name).write_bytes(data)
    with pytest.raises(CorruptFileError, match=str(folder)):
        ProspectivityModel.load(folder)


@pytest.mark.parametrize("name", ["network-0.safetensors", "network-1.safetensors", "model.json", "manifest.json"])
@pytest.mark.parametrize("length", [0, 100, -5])
def test_a_file_that_was_cut_short_is_noticed(name: str, length: int, folder: Path) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:length])
    with pytest.raises(CorruptFileError, match=str(folder)):
        ProspectivityModel.load(folder)


@pytest.mark.parametrize("name", ["network-0.safetensors", "network-1.safetensors", "manifest.json"])
def test_a_file_that_is_gone_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(CorruptFileError, match=name):
        ProspectivityModel.load(folder)


def test_a_folder_without_a_model_is_a_missing_file(folder: Path, tmp_path: Path) -> None:
    (folder / "model.json").unlink()
    for path in (folder, tmp_path / "absent", folder / "manifest.json"):
        with pytest.raises(MissingFileError, match="holds no model"):
            ProspectivityModel.load(path)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


def test_a_pickle_in_place_of_the_weights_is_refused_and_not_executed(folder: Path) -> None:
    sprung = folder.parent / "sprung"
    (folder / "network-0.safetensors").write_bytes(pickle.dumps(Trap(str(sprung))))
    write_manifest(folder)
    with pytest.raises(CorruptFileError, match="network-0"):
        ProspectivityModel.load(folder)
    assert not sprung.exists()


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes_in_place_of_the_weights_are_refused(seed: int, folder: Path) -> None:
    (folder / "network-0.safetensors").write_bytes(np.random.default_rng(seed).bytes(5000))
    write_manifest(folder)
    with pytest.raises(CorruptFileError, match="network-0"):
        ProspectivityModel.load(folder)


@pytest.mark.parametrize("name", ["model.json", "network-1.safetensors"])
def test_a_file_of_which_the_manifest_says_nothing_is_not_read(name: str, folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["sha256"][name]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CorruptFileError, match=f"does not name {re.escape(name)}"):
        ProspectivityModel.load(folder)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(value: float, folder: Path) -> None:
    state = load_file(folder / "network-1.safetensors")
    state["conv1.0.weight"][3, 1, 0, 0] = value
    save_file(state, folder / "network-1.safetensors")
    write_manifest(folder)
    with pytest.raises(CorruptFileError, match=r"network-1.*conv1\.0\.weight.*not finite"):
        ProspectivityModel.load(folder)


@pytest.mark.parametrize("change", ["rename", "drop", "add", "reshape"])
def test_weights_whose_names_or_shapes_do_not_fit_are_refused(change: str, folder: Path) -> None:
    state = load_file(folder / "network-0.safetensors")
    if change == "add":
        state["fc.extra"] = torch.zeros(1)
    else:
        taken = state.pop("fc.bias")
        state |= {"rename": {"fc.offset": taken}, "drop": {}, "reshape": {"fc.bias": torch.zeros(3)}}[change]
    save_file(state, folder / "network-0.safetensors")
    write_manifest(folder)
    with pytest.raises(CorruptFileError, match="do not fit"):
        ProspectivityModel.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"format": "1"},
        {"network": "vit_b_16"},
        {"network": "resnet18"},
        {"network": ["resnet18"]},
        {"bands": ["Cu"]},
        {"bands": []},
        {"bands": ["Cu", "Au", "Ag"]},
        {"units": ["ppm"]},
        {"units": ["ppm", "ppb", "%"]},
        {"offset": [1.0]},
        {"offset": [1.0, 2.0, 3.0]},
        {"offset": [1.0, float("nan")]},
        {"offset": "12"},
        {"scale": [1.0, 0.0]},
        {"scale": [1.0, -2.0]},
        {"scale": [1.0, float("inf")]},
        {"scale": [[1.0, 2.0]]},
        {"n_models": 0},
        {"n_models": 3},
        {"n_models": 1.5},
        {"n_models": None},
        {"size": 0},
        {"crop": 11},
        {"crop": "8"},
        {"cell_size": [100.0]},
        {"cell_size": [100.0, float("nan")]},
        {"cell_size": [100.0, -100.0]},
        {"seed": -1},
        {"settings": [1, 2]},
        {"norm": "layer"},
        {"norm": "group"},  # the weights are of batch normalisation
        {"norm": ["batch"]},
        {"norm": None},
        {"history": {"loss": [1, 2], "epoch": [1]}},
    ],
    ids=str,
)
def test_a_description_that_breaks_a_rule_is_refused_though_its_checksum_fits(
    change: dict[str, Any], folder: Path
) -> None:
    meta = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps(meta | change), encoding="utf-8")
    write_manifest(folder)
    with pytest.raises(CorruptFileError):
        ProspectivityModel.load(folder)


@pytest.mark.parametrize(
    "key",
    ["format", "network", "bands", "units", "offset", "scale", "n_models", "size", "crop", "cell_size", "history"],
)
def test_a_description_that_lacks_something_is_refused_and_names_it(key: str, folder: Path) -> None:
    meta = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    del meta[key]
    (folder / "model.json").write_text(json.dumps(meta), encoding="utf-8")
    write_manifest(folder)
    with pytest.raises(CorruptFileError, match=key):
        ProspectivityModel.load(folder)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '"model"', "\xff\xfe", "[" * 100_000], ids=lambda t: t[:8])
def test_a_description_that_is_no_table_is_refused(text: str, folder: Path) -> None:
    (folder / "model.json").write_bytes(text.encode("latin-1"))
    write_manifest(folder)
    with pytest.raises(CorruptFileError, match=r"model\.json"):
        ProspectivityModel.load(folder)


def test_the_format_of_a_later_version_is_named(folder: Path) -> None:
    meta = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps(meta | {"format": 9}), encoding="utf-8")
    write_manifest(folder)
    with pytest.raises(CorruptFileError, match=r"format 9.*update geoprospect"):
        ProspectivityModel.load(folder)


# ---------------------------------------------------------------- survey and model


def test_all_differences_between_model_and_survey_stand_in_one_message(model: ProspectivityModel) -> None:
    finer = gp.Grid(GRID.crs, Affine(50, 0, 500_000, 0, -50, 2_400_000), (20, 24))
    with pytest.raises(InputError, match="does not match") as caught:
        model.stack(make_survey(finer, Cu="%", Au="ppm"))
    message = str(caught.value)
    assert "Cu: units '%', trained in 'ppm'" in message
    assert "Au: units 'ppm', trained in 'ppb'" in message
    assert "cell size 50 x 50, trained on 100 x 100" in message
    assert "convert the units and interpolate" in message


@pytest.mark.parametrize("change", [{"Cu": "%"}, {"Au": ""}])
def test_one_wrong_unit_is_enough_and_the_right_one_is_not_listed(
    change: dict[str, str], model: ProspectivityModel
) -> None:
    with pytest.raises(InputError, match=f"{next(iter(change))}: units") as caught:
        model.stack(make_survey(**change))
    assert "cell size 1" not in str(caught.value)
    assert str(caught.value).count("trained in") == 1


@pytest.mark.parametrize(("step", "fits"), [((100.5, 99.6), True), ((102.0, 100.0), False), ((100.0, 98.0), False)])
def test_cell_sizes_may_differ_by_a_projections_rounding_and_no_more(
    step: tuple[float, float], fits: bool, model: ProspectivityModel
) -> None:
    survey = make_survey(gp.Grid(GRID.crs, Affine(step[1], 0, 0, 0, -step[0], 0), GRID.shape))
    if fits:
        assert model.stack(survey)[0].shape == (2, *GRID.shape)
    else:
        with pytest.raises(InputError, match="cell size"):
            model.stack(survey)


def test_the_cure_is_for_what_differs_and_no_more(model: ProspectivityModel) -> None:
    with pytest.raises(InputError) as caught:
        model.stack(make_survey(Cu="%"))
    assert str(caught.value).endswith("\nconvert the units: gp.convert_units(survey, {'Cu': 'ppm'})")
    assert model.stack(gp.convert_units(make_survey(Cu="%"), {"Cu": "ppm"}))[0].shape == (2, *GRID.shape)
    finer = gp.Grid(GRID.crs, Affine(50, 0, 500_000, 0, -50, 2_400_000), (20, 24))
    with pytest.raises(InputError) as caught:
        model.stack(make_survey(finer))
    assert "units" not in str(caught.value)
    assert str(caught.value).endswith("that cell size, or let gp.transfer(model, survey, resample=True) do it")
    with pytest.raises(InputError, match=r"not said but known, set it: survey\['Au'\]\.attrs\['units'\] = "):
        model.stack(make_survey(Au=""))


@pytest.mark.parametrize(
    ("names", "cure"),
    [
        (("cu", "Au"), "it has cu, Au; did you mean cu? rename: survey.rename(cu='Cu')"),
        (("AU", "cu"), "did you mean cu, AU? rename: survey.rename(cu='Cu', AU='Au')"),
        (("Cu", "Au%"), "did you mean Au%? rename: survey.rename({'Au%': 'Au'})"),
    ],
)
def test_a_band_under_nearly_its_name_is_suggested_with_the_call(
    names: tuple[str, ...], cure: str, model: ProspectivityModel
) -> None:
    survey = make_survey(names=names, **dict(zip(names, ("ppm", "ppb"), strict=True)))
    with pytest.raises(NameNotFoundError) as caught:
        model.stack(survey)
    assert str(caught.value).endswith(cure)


def test_missing_bands_are_all_named_beside_those_that_are_there(model: ProspectivityModel) -> None:
    with pytest.raises(NameNotFoundError, match=r"Cu, Au.*has W, Sn") as caught:
        model.stack(make_survey(names=("W", "Sn")))
    assert isinstance(caught.value, KeyError)
    with pytest.raises(NameNotFoundError, match="lacks the bands Au "):
        model.stack(make_survey(names=("Cu", "W")))


@pytest.mark.parametrize(
    "rearranged",
    [
        lambda s: s[["Au", "Cu"]],
        lambda s: s.assign(W=s["Cu"] * 1000).assign(W=lambda t: t["W"].assign_attrs(units="%"))[["W", "Au", "Cu"]],
        lambda s: s.transpose("x", "y"),
        lambda s: s.astype(np.float64),
    ],
    ids=["other order", "more bands", "transposed", "float64"],
)
def test_order_number_and_layout_of_the_bands_in_a_survey_do_not_matter(
    rearranged: Callable[[xr.Dataset], xr.Dataset], model: ProspectivityModel
) -> None:
    survey = make_survey()
    survey["Au"][3:6, 4:9] = np.nan
    changed = rearranged(survey)
    for name in changed.data_vars:
        changed[name].attrs = survey[name].attrs if name in survey else {"units": "%"}
    expected, found = model.stack(survey), model.stack(changed)
    assert expected[0].tobytes() == found[0].tobytes()
    assert expected[1].tobytes() == found[1].tobytes()


def test_the_stack_is_scaled_by_the_model_and_zero_without_data(model: ProspectivityModel) -> None:
    survey = make_survey()
    survey["Cu"][0, 0], survey["Au"][2, 3] = np.nan, np.inf
    stack, valid = model.stack(survey)
    assert stack.dtype == np.float32
    assert np.argwhere(~valid).tolist() == [[0, 0], [2, 3]]
    assert stack[0, 0, 0] == stack[1, 2, 3] == 0
    value = survey["Au"].values.astype(np.float64)[5, 6]
    assert stack[1, 5, 6] == np.float32((value - 7.9) / (1 / 3))
    assert stack[1, 0, 0] != 0  # the other band keeps its value
