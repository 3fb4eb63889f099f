"""Which GPUs there are for ranks and for jobs, as nvidia-smi and CUDA_VISIBLE_DEVICES say."""

import subprocess

import pytest

from apollo_ds.errors import UserError
from apollo_ds.gpus import divide, visible_gpus
from apollo_ds.training.launch import Ranks

_FOUR = "".join(f"GPU {i}: NVIDIA H100 80GB HBM3 (UUID: GPU-{letter * 8}-1234)\n" for i, letter in enumerate("abcd"))
_SLICED = (
    "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaaaaaa-1234)\n"
    "  MIG 3g.20gb     Device  0: (UUID: MIG-11111111-1234)\n"
    "  MIG 3g.20gb     Device  1: (UUID: MIG-22222222-1234)\n"
)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What nvidia-smi prints; while it is empty, there is no such command."""
    printed: list[str] = []

    def run(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        if not printed:
            raise FileNotFoundError(command[0])
        return subprocess.CompletedProcess(command, 0, printed[0])

    monkeypatch.setattr("apollo_ds.gpus.subprocess.run", run)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    return printed


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        (None, 4),
        ("", 0),
        ("-1", 0),
        ("NoDevFiles", 0),
        ("2", 1),
        ("3,1", 2),
        ("0, 2", 2),
        ("0,7,1", 1),
        ("GPU-bbbbbbbb-1234,GPU-dddddddd-1234", 2),
        ("GPU-c", 1),
        ("GPU-e,0", 0),
        ("MIG-11111111-1234,MIG-22222222-1234", 1),
    ],
)
def test_cuda_visible_devices_chooses(
    chosen: str | None, count: int, listed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed.append(_FOUR)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert len(visible_gpus()) == count


def test_slices_of_a_gpu_are_no_gpus(listed: list[str]) -> None:
    listed.append(_SLICED)
    assert visible_gpus() == ["0"]


def test_a_rank_for_each_gpu(listed: list[str]) -> None:
    listed.append(_FOUR)
    environments = Ranks.of_this_machine().environments()
    assert [(shell["RANK"], shell["LOCAL_RANK"], shell["WORLD_SIZE"]) for shell in environments] == [
        (str(rank), str(rank), "4") for rank in range(4)
    ]
    assert len({shell["MASTER_PORT"] for shell in environments}) == 1
    assert all("DS_ACCELERATOR" not in shell for shell in environments)
    assert Ranks.of_this_machine(3) == Ranks(3, on_gpus=True)
    with pytest.raises(UserError, match=r"^ranks: 5 are more than this machine's 4 GPUs; use at most 4$"):
        Ranks.of_this_machine(5)


def test_two_ranks_without_a_gpu_or_as_many_as_wanted(listed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert visible_gpus() == []
    assert Ranks.of_this_machine() == Ranks(2, on_gpus=False)
    assert Ranks.of_this_machine(5) == Ranks(5, on_gpus=False)
    with pytest.raises(UserError, match=r"^ranks: must be a whole number of at least 1, not 0$"):
        Ranks.of_this_machine(0)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert all(
        (shell["DS_ACCELERATOR"], shell["GOMP_SPINCOUNT"], shell["OMP_NUM_THREADS"]) == ("cpu", "0", "1")
        for shell in Ranks(2, on_gpus=False).environments()
    )
    monkeypatch.setenv("MASTER_PORT", "abc")
    with pytest.raises(UserError, match=r"^MASTER_PORT: must be a whole number, 1 to 65535, not 'abc'; name a "):
        Ranks(2, on_gpus=False).environments()
    listed.append(_FOUR)
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    assert Ranks.of_this_machine() == Ranks(2, on_gpus=False)


@pytest.mark.parametrize(
    ("gpus", "jobs", "expected"),
    [
        ([], 3, [{}, {}, {}]),
        (["0", "1"], 1, [{}]),
        (["0", "1", "5"], 3, [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in "015"]),
        (list("01234"), 2, [{"CUDA_VISIBLE_DEVICES": "0,1"}, {"CUDA_VISIBLE_DEVICES": "2,3"}]),
    ],
)
def test_gpus_are_divided_evenly_among_jobs(gpus: list[str], jobs: int, expected: list[dict[str, str]]) -> None:
    assert divide(gpus, jobs) == expected


def test_more_jobs_than_gpus_are_refused() -> None:
    with pytest.raises(UserError, match=r"^--jobs 3: each run needs a GPU, and this machine has 2; use --jobs 2$"):
        divide(["0", "1"], 3)
