"""Pages of figures: they are drawn whatever the table, whole or not at all."""

import csv

import matplotlib.pyplot as plt
import numpy as np
import pytest
from click.testing import CliRunner

from geoprospect.cli import cli
from geoprospect.errors import InputError, OutputError
from geoprospect.geochem.sample_check import check_samples
from geoprospect.plotting import sample_check_figure
from geoprospect.plotting.sample_check_figure import write_check_figure


@pytest.fixture
def table(tmp_path):
    """Return a function that writes n samples about a place and checks them."""

    def make(n, cells=None, crs="EPSG:32649", name="Cu_ppm"):
        rng = np.random.default_rng(n)
        x, y = rng.uniform(4e5, 4.4e5, n), rng.uniform(2.4e6, 2.42e6, n)
        values = rng.lognormal(3, 1, n).round(2).astype(str).tolist() if cells is None else cells
        with (tmp_path / "t.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([("x", "y", name), *zip(x, y, values, strict=True)])
        return check_samples(tmp_path / "t.csv", crs=crs)

    return make


@pytest.fixture
def drawn(monkeypatch):
    """Return the axes of each figure, kept open until the test is over."""
    figures = []
    monkeypatch.setattr(sample_check_figure.plt, "close", figures.append)
    yield lambda: {ax.get_label(): ax for ax in figures[-1].axes}
    monkeypatch.undo()
    plt.close("all")


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_page_is_written_in_the_format_of_its_name(table, tmp_path, suffix):
    path = write_check_figure(table(300), tmp_path / f"check{suffix}", dpi=40)
    assert path == tmp_path / f"check{suffix}"
    assert path.stat().st_size > 5000
    assert plt.get_fignums() == []
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([path.name, "t.csv"])


def test_every_sample_is_on_the_map_and_every_place_in_the_histogram(table, tmp_path, drawn):
    write_check_figure(table(300), tmp_path / "check.png", dpi=30)
    axes = drawn()
    assert axes["map"].collections[0].get_array().sum() == 300
    assert sum(bar.get_height() for bar in axes["spacing"].patches) == 300
    assert axes["map"].get_xlabel() == "km, WGS 84 / UTM zone 49N"
    write_check_figure(table(50), tmp_path / "check.png", dpi=30)
    assert len(drawn()["map"].lines[0].get_xdata()) == 50


def test_the_bars_are_the_shares_of_the_cells(table, tmp_path, drawn):
    cells = ["5", "6", "7", "8", "<1", "<1", ">90", "-9999", "-3", ""]
    write_check_figure(table(10, cells), tmp_path / "check.png", dpi=30)
    bars = drawn()["cells"].patches
    assert [bar.get_width() for bar in bars] == [40, 20, 10, 10, 10, 10]
    assert bars[-1].get_x() + bars[-1].get_width() == 100


def test_markup_of_a_header_is_drawn_as_text(table, tmp_path):
    write_check_figure(table(12, name="$x_ppm$ ppm"), tmp_path / "check.png", dpi=30)


def test_tables_that_cannot_be_read_are_drawn_as_far_as_they_go(table, tmp_path, drawn):
    for check in (table(30, crs=None), table(3, ["a", "b", "c"]), table(1), table(20, name="colour")):
        write_check_figure(check, tmp_path / "check.png", dpi=30)
        assert {"map", "cells", "spacing"} <= set(drawn())


def test_the_command_line_draws_it_too(table, tmp_path):
    check = table(10)
    figure = tmp_path / "check.svg"
    arguments = ["check", str(check.table.file), "--crs", "EPSG:32649", "--figure", str(figure)]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0
    assert result.stdout.endswith(f"{figure}\n")
    assert figure.is_file()


def test_what_stood_there_stays_when_the_page_cannot_be_written(table, tmp_path, monkeypatch):
    path = tmp_path / "check.png"
    path.write_bytes(b"old")

    def full_disk(self, file, **_):
        file.write_bytes(b"\x89P")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full_disk)
    with pytest.raises(OutputError, match="No space left"):
        write_check_figure(table(10), path)
    assert path.read_bytes() == b"old"
    assert plt.get_fignums() == []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, **_: file.write_bytes(b"nothing"))
    with pytest.raises(OutputError, match=r"no \.png file"):
        write_check_figure(table(10), path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["check.png", "t.csv"]


def test_what_cannot_be_drawn_is_refused(table, tmp_path):
    with pytest.raises(InputError, match="needs what check_samples returns"):
        write_check_figure("check", tmp_path / "check.png")
    with pytest.raises(InputError, match="ends in"):
        write_check_figure(table(5), tmp_path / "check.jpg")
    with pytest.raises(OutputError, match="does not exist"):
        write_check_figure(table(5), tmp_path / "nowhere" / "check.png")
    with pytest.raises(InputError, match="dpi=0"):
        write_check_figure(table(5), tmp_path / "check.png", dpi=0)
