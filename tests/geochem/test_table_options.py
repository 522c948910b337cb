"""How a table of samples is read, in one place."""

import dataclasses

import pytest

import geoprospect as gp
from geoprospect._settings import descriptions
from geoprospect.errors import InputError
from geoprospect.geochem.table_options import TableArguments, TableKeywords, TableOptions


def names(settings):
    return [field.name for field in dataclasses.fields(settings)]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "samples.csv"
    path.write_text("lon,lat,Cu_ppm,Au_ppb\n110.1,22.1,18.5,-0.5\n110.2,22.1,-9999,2.1\n", encoding="utf-8")
    return path


def test_the_keywords_are_the_fields():
    assert list(TableKeywords.__annotations__) == names(TableOptions)


def test_every_field_is_described():
    assert set(descriptions(TableOptions) | descriptions(TableArguments)) == set(names(TableArguments))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"below": "hal"}, r"below='hal': needs one of 'half', .*; did you mean 'half'\?"),
        ({"negative": 3}, "negative=3: needs one of 'raise', 'below', 'missing'"),
        ({"zero": "kep"}, r"zero='kep': needs one of .*; did you mean 'keep'\?"),
        ({"limits": 0}, "limits=0: needs a number, more than 0"),
        ({"limits": {"Cu": -1}}, r"limits\['Cu'\]=-1: needs a number, more than 0"),
        ({"flags": "Cu_flag"}, "flags='Cu_flag': needs a mapping of elements to columns, False to ignore flags"),
        ({"encoding": 8}, "encoding=8: needs the name of an encoding, such as 'latin-1'"),
        ({"encodng": "gbk"}, r"encodng='gbk': there is no such setting; did you mean 'encoding'\?"),
    ],
)
def test_a_wrong_option_is_refused_by_both_readers(table, options, message):
    for reader in (gp.read_samples, gp.check_samples):
        with pytest.raises(InputError, match=message):
            reader(table, crs="EPSG:4326", **options)


def test_what_an_error_suggests_both_readers_accept(table):
    with pytest.raises(InputError, match=r"read_samples\(…, missing=\[-9999\], negative='below'\)"):
        gp.read_samples(table, crs="EPSG:4326")
    check = gp.check_samples(table, crs="EPSG:4326")
    assert check.arguments == {"missing": [-9999.0], "negative": "below"}
    assert gp.check_samples(table, crs="EPSG:4326", **check.arguments).usable
    assert len(gp.read_samples(table, crs="EPSG:4326", **check.arguments)) == 2
