"""Any part of any tensor can be read from a checkpoint, whatever number of ranks wrote it, and no byte more is."""

import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bookkeeping import measure, write_checkpoint
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from small_checkpoints import manifest_of_files

from apollo_ds.checkpoint import saved_state
from apollo_ds.checkpoint.find import Sound, verify
from apollo_ds.checkpoint.index import read_header
from apollo_ds.checkpoint.manifest import DamagedCheckpoint, rank_file
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.errors import UserError

_SHAPES = {"a.weight": (7, 5), "b.bias": (9,), "frozen.weight": (4, 4)}
_TENSORS = ("weight", "exp_avg", "exp_avg_sq", "cohort")


def whole(name: str, tensor: str) -> np.ndarray[Any, Any]:
    """What the state holds; no two numbers are the same."""
    size = int(np.prod(_SHAPES[name]))
    first = 100 * (1 + list(_SHAPES).index(name)) + 1000 * _TENSORS.index(tensor)
    return (first + np.arange(size)).astype(np.uint8 if tensor == "cohort" else np.float32)


def write(folder: Path, cuts: dict[str, list[int]]) -> Sound:
    """A checkpoint of which each rank has what lies between two cuts of each parameter."""
    path = folder / "step-8"
    path.mkdir(parents=True)
    for rank in range(len(cuts["b.bias"]) - 1):
        slices, tensors = {}, {}
        for name, shape in _SHAPES.items():
            start, end = cuts[name][rank : rank + 2]
            slices[name] = {"shape": shape, "start": start}
            for tensor in _TENSORS[: 1 if name.startswith("frozen") else None]:
                tensors[f"{name}/{tensor}"] = whole(name, tensor)[start:end]
        save_file(tensors, path / rank_file(rank), {"slices": json.dumps(slices)})
    manifest_of_files(path, 8, births=[0, 1])
    return verify(path)


@st.composite
def cut(draw: st.DrawFn) -> tuple[dict[str, list[int]], str, str, int, int]:
    ranks = draw(st.integers(1, 5))
    cuts = {}
    for name, shape in _SHAPES.items():
        size = int(np.prod(shape))
        inner = sorted(draw(st.lists(st.integers(0, size), min_size=ranks - 1, max_size=ranks - 1)))
        cuts[name] = [0, *inner, size]
    name, tensor = draw(st.sampled_from(list(_SHAPES))), draw(st.sampled_from(_TENSORS))
    start = draw(st.integers(0, int(np.prod(_SHAPES[name]))))
    return cuts, name, tensor, start, draw(st.integers(start, int(np.prod(_SHAPES[name]))))


@given(cut())
def test_any_part_is_read_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, of: tuple[dict[str, list[int]], str, str, int, int]
) -> None:
    cuts, name, tensor, start, end = of
    saved = SavedState(write(tmp_path_factory.mktemp("cut"), cuts))
    target = torch.full((end - start,), 77, dtype=torch.uint8 if tensor == "cohort" else torch.float32)
    saved.read_into(name, tensor, start, target)
    has_none = name.startswith("frozen") and tensor != "weight"
    expected = np.zeros(end - start) if has_none else whole(name, tensor)[start:end]
    assert np.array_equal(target.numpy(), expected)
    assert saved.bytes_read == (0 if has_none else target.numel() * target.element_size())


@pytest.mark.parametrize(
    "harm",
    [
        lambda header: header.pop("__metadata__"),
        lambda header: header["b.bias/exp_avg"].update(dtype="F16"),
        lambda header: header["b.bias/exp_avg"].update(data_offsets=[0, 4]),
        lambda header: header.update({"other/weight": header["b.bias/weight"]}),
        lambda header: header.pop("a.weight/weight"),
        lambda header: header.update({"b.bias/other": header["b.bias/weight"]}),
        lambda header: header["b.bias/weight"].update(data_offsets=[-36, 0]),
        lambda header: header["b.bias/weight"].update(data_offsets=[10**9, 10**9 + 36]),
        lambda header: header.update(__metadata__={"slices": json.dumps({"b.bias": {"shape": [9], "start": 0.5}})}),
    ],
)
def test_a_header_that_is_none_of_a_state_is_damage(harm: Callable[[Any], Any], tmp_path: Path) -> None:
    cuts = {name: [0, int(np.prod(shape))] for name, shape in _SHAPES.items()}
    path = write(tmp_path, cuts).folder / rank_file(0)
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    read_header(path)
    harm(header)
    written = json.dumps(header).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + content[8 + size :])
    with pytest.raises(DamagedCheckpoint, match="not a file of a checkpoint"):
        read_header(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 8, b"\xff" * 7 + b"\x7f", (1 << 40).to_bytes(8, "little") + b"{}", b"\x02" + b"\0" * 7 + b"[]"],
)
def test_what_is_no_header_is_damage(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DamagedCheckpoint):
        read_header(tmp_path / "file")


def whole_in_one_file(folder: Path) -> Sound:
    return write(folder, {name: [0, int(np.prod(shape))] for name, shape in _SHAPES.items()})


def test_what_is_held_can_be_read_when_the_checkpoint_has_been_removed(tmp_path: Path) -> None:
    sound = whole_in_one_file(tmp_path)
    held, other = SavedState(sound).hold(), SavedState(sound)
    shutil.rmtree(sound.folder)
    assert held.gather("b.bias", "weight", torch.device("cpu")).tolist() == whole("b.bias", "weight").tolist()
    held.close()
    for state in (other, held):
        with pytest.raises(UserError, match=r"00000\.safetensors: cannot be read \(No such file .*\); run the same"):
            state.gather("b.bias", "weight", torch.device("cpu"))


@pytest.fixture
def few_files() -> Iterator[int]:
    """Few files may be open, unless the limit is raised; how many it may be raised to."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 10, limits[1]))
    yield limits[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("may_be_raised", [True, False])
def test_many_files_are_held_or_the_limit_is_named(
    may_be_raised: bool, few_files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "step-8", ranks=40, parameters=1)
    state, open_before = SavedState(verify(tmp_path / "step-8")), len(os.listdir("/proc/self/fd"))
    if not may_be_raised:
        monkeypatch.setattr(saved_state, "raise_limit", lambda: None)
        with pytest.raises(UserError, match=r"is one file too many to open; raise the limit, .*: `ulimit -n`$"):
            state.hold()
        assert len(os.listdir("/proc/self/fd")) == open_before
    else:
        state.hold().close()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == few_files


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_with_bytes_too_many_or_too_few_is_damage(change: int, tmp_path: Path) -> None:
    """As a manifest may say that it is right."""
    path = whole_in_one_file(tmp_path).folder / rank_file(0)
    os.truncate(path, path.stat().st_size + change)
    with pytest.raises(DamagedCheckpoint):
        read_header(path)


def test_a_file_that_has_become_shorter_is_told(tmp_path: Path) -> None:
    sound = whole_in_one_file(tmp_path)
    os.truncate(sound.folder / rank_file(0), 100)
    with pytest.raises(UserError, match=r"cannot be read \(it ends too early\)"):
        SavedState(sound).gather("frozen.weight", "weight", torch.device("cpu"))


def test_one_of_many_ranks_opens_and_reads_what_it_needs(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "step-8", ranks=64, parameters=20)
    found = measure(tmp_path / "step-8", ranks=64)
    assert found["bytes_read"] == 20 * 3 * 2 * 4
    assert found["files_open"] == 1
