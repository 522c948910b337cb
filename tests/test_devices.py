"""Which device computes, on machines with and without one."""

import logging
from typing import Any

import pytest
import torch

from geoprospect import _devices
from geoprospect._devices import resolve_device
from geoprospect.errors import DeviceError, InputError


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.fixture
def with_two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("without_cuda")
def test_auto_is_the_cpu_where_there_is_no_cuda_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    _devices._say_once.cache_clear()  # an earlier test may have heard it
    with caplog.at_level(logging.INFO, logger="geoprospect"):
        assert resolve_device("auto") == resolve_device("auto") == torch.device("cpu")
    assert [record.getMessage() for record in caplog.records] == ["device='auto': computing on cpu"]


@pytest.mark.usefixtures("with_two_gpus")
def test_auto_is_the_gpu_where_there_is_one() -> None:
    assert resolve_device("auto").type == "cuda"


@pytest.mark.usefixtures("without_cuda")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1"])
def test_cuda_is_refused_without_cuda_and_the_message_has_the_cure(device: str) -> None:
    with pytest.raises(DeviceError, match="device='cpu'") as caught:
        resolve_device(device)
    assert isinstance(caught.value, RuntimeError)
    assert device in str(caught.value)
    assert "pip install" in str(caught.value)
    assert torch.__version__ in str(caught.value)


@pytest.mark.usefixtures("with_two_gpus")
def test_a_gpu_beyond_the_last_one_is_refused_with_their_number() -> None:
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(DeviceError, match="only 2"):
        resolve_device("cuda:2")


def test_the_cpu_is_always_there() -> None:
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.usefixtures("without_cuda")
@pytest.mark.parametrize("device", ["gpu", "", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cuda 1", None, 1.5, 0, True, []])
def test_nonsense_is_refused_with_the_names_that_are_known(device: Any) -> None:
    with pytest.raises(InputError, match=r"needs 'auto', 'cpu', 'cuda' or 'cuda:1'"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["meta", "mps", "xpu", "vulkan", "cpu:3"])
def test_devices_of_torch_on_which_nothing_here_was_tried_are_refused(device: str) -> None:
    with pytest.raises(InputError, match="needs 'auto'"):
        resolve_device(device)
