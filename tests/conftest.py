"""What several test files share."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Same examples in every run, and no deadline: the machines of a CI are not alike.
settings.register_profile(
    "geoprospect", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("geoprospect")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder with the real surveys."""
    folder = os.environ.get("GEOPROSPECT_DATA")
    if not folder:
        pytest.skip("GEOPROSPECT_DATA is not set: real surveys are not here")
    return Path(folder)
