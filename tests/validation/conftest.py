"""Fixtures of several tests of the validation."""

from collections.abc import Iterator

import pytest

from geoprospect.validation import baselines


@pytest.fixture(scope="module")
def few_trees() -> Iterator[None]:
    """Grow 30 trees in place of 300, which is enough to test how a forest is used."""
    grow = baselines._forest
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "_forest", lambda seed: grow(seed).set_params(n_estimators=30))
        yield
