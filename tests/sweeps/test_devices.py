"""Which devices runs get."""

import pytest

from tinv.errors import UserError
from tinv.sweeps import devices
from tinv.sweeps.devices import device_slots, visible_devices


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(devices, "available_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_each_device_is_a_slot_with_its_share_of_the_cores():
    slots = device_slots([0, "GPU-1f"], n_jobs=None)
    assert [slot.name for slot in slots] == ["device 0", "device GPU-1f"]
    assert [slot.env for slot in slots] == [
        {"CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "4"},
        {"CUDA_VISIBLE_DEVICES": "GPU-1f", "OMP_NUM_THREADS": "4"},
    ]
    assert [slot.name for slot in device_slots([3, 5, 7], n_jobs=2)] == ["device 3", "device 5"]


def test_on_the_cpu_each_job_is_a_slot():
    slots = device_slots([], n_jobs=3)
    assert [slot.env for slot in slots] == [{"OMP_NUM_THREADS": "2"}] * 3
    assert len(device_slots([], n_jobs=None)) == 2, "one for each four cores"


def test_the_users_number_of_threads_is_kept(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert device_slots([0], n_jobs=None)[0].env["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("names", "n_jobs", "expected"),
    [
        ([0, 1], 3, "n_jobs=3: there are only 2 devices"),
        ([0, 0], None, "a device is listed twice"),
        ([0, "0"], None, "a device is listed twice"),
        ([0], 0, "n_jobs=0: must be 1 or more"),
    ],
)
def test_two_runs_never_share_a_device(names, n_jobs, expected):
    with pytest.raises(UserError, match=expected):
        device_slots(names, n_jobs)


@pytest.mark.parametrize(("visible", "expected"), [("2,3", ["2", "3"]), ("", []), ("-1", []), ("GPU-1f", ["GPU-1f"])])
def test_hidden_devices_are_not_used(monkeypatch, visible, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_devices() == expected
