"""What several test files share."""

import os
from collections import defaultdict
from pathlib import Path

# Several test processes share the cores: more threads than cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import example_counts
import pytest
import torch
from hypothesis import HealthCheck, settings

# Same examples in every run, and no deadline: the machines of a CI are not alike.
settings.register_profile(
    "geoprospect", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("geoprospect")


@pytest.fixture(scope="module")
def one_thread():
    """Small layers on many threads mostly wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make maps of a few rows of windows a tile, and of several strips."""
    from geoprospect.prediction import engine

    monkeypatch.setitem(engine._HELD_BYTES, "cpu", 40 * 8 * 20)
    monkeypatch.setattr(engine, "_LEAST_ROWS", 1)
    monkeypatch.setattr(engine, "_WIDEST", 40)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder with the real surveys."""
    folder = os.environ.get("GEOPROSPECT_DATA")
    if not folder:
        pytest.skip("GEOPROSPECT_DATA is not set: real surveys are not here")
    return Path(folder)


EXPECTED_SKIPS = tuple(
    line
    for line in (Path(__file__).parent / "expected_skips.txt").read_text(encoding="utf-8").splitlines()
    if line.strip() and not line.startswith("#")
)


class Watch:
    """Times the groups of tests and looks at the reasons of skips."""

    def __init__(self):
        self.seconds = defaultdict(float)
        self.skips = []

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid.split("::")[0]] += report.duration
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skips.append((report.nodeid, report.longrepr[2].removeprefix("Skipped: ")))

    def unexpected(self):
        return [(test, reason) for test, reason in self.skips if not reason.startswith(EXPECTED_SKIPS)]

    def pytest_sessionfinish(self, session):
        if self.unexpected() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.section("time of each group of tests")
        for group, seconds in sorted(self.seconds.items(), key=lambda item: -item[1]):
            terminalreporter.write_line(f"{seconds:8.1f} s  {group}")
        for test, reason in self.skips:
            terminalreporter.write_line(f"skipped: {test}: {reason}")
        for test, reason in self.unexpected():
            terminalreporter.write_line(f"NOT EXPECTED (tests/expected_skips.txt): {test}: {reason}", red=True)


def pytest_configure(config):
    # Fewer generated examples where slow tests are left out.
    example_counts.leave_out_slow = "not slow" in config.option.markexpr
    config.pluginmanager.register(Watch(), "geoprospect-watch")
