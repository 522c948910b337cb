"""Settings of maps: fields, keywords and refusals."""

import dataclasses
from typing import Any, get_type_hints

import pytest

from geoprospect._settings import descriptions
from geoprospect.errors import InputError
from geoprospect.prediction.settings import MapSettings, PredictionOptions, PredictionSettings

FIELDS = [field.name for field in dataclasses.fields(PredictionSettings)]


def test_the_keywords_are_the_fields() -> None:
    assert list(get_type_hints(PredictionOptions)) == FIELDS == list(descriptions(PredictionSettings))


def test_the_settings_of_a_map_have_the_same_fields_and_checks() -> None:
    resolved: dict[str, Any] = {"stride": 4, "device": "cpu", "dtype": "float32", "batch": 64, "threads": 1}
    assert set(FIELDS) < {field.name for field in dataclasses.fields(MapSettings)}
    assert MapSettings(more=["n_models", "logit"], **resolved).more == ("logit", "n_models")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="activation"):
        MapSettings(more=("activation",), **resolved)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"mode": "slide"}, "mode='slide'"),
        ({"min_valid": 1.5}, "min_valid=1.5"),
        ({"edge": "wrap"}, "edge='wrap'"),
        ({"precision": "half"}, "precision='half'"),
        ({"more": "logit"}, "more='logit'"),
        ({"more": ["odds"]}, "more='odds'"),
        ({"more": ["activation"]}, "needs mode='dense'"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        PredictionSettings(**wrong)
