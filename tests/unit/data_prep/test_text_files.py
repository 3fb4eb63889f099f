"""Which files of a folder or glob are read: each real one once, and what is left out is named."""

import glob
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from data_prep import sources, text_files
from data_prep.errors import DataError
from data_prep.sources import Source


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def found(location: Path | str) -> list[str]:
    return list(text_files.find(str(location)).paths.values())


@pytest.mark.parametrize(
    "pattern", ["**", "*", "**/*.txt", "b/**", "**/c/*", "*/c/**", "b/c/*.txt", "[ab]*/*", "**/**"]
)
@pytest.mark.parametrize("ending", ["", "/"])
def test_ordinary_folders_and_globs_give_what_glob_gives(tmp_path: Path, pattern: str, ending: str) -> None:
    write(tmp_path, "a.txt", "b/c/d.txt", "b/a.txt", "b-1/e.txt", "a/c/z.txt", ".hidden/f.txt", "b/.g.txt")
    where = f"{tmp_path}{ending}" if pattern == "**" else f"{tmp_path}/{pattern}"
    expected = glob.glob(f"{tmp_path}/{pattern}", recursive=True)
    assert found(where) == sorted({path for path in expected if os.path.isfile(path)})


def test_a_glob_may_start_where_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.txt", "b/c.txt")
    monkeypatch.chdir(tmp_path)
    assert found("**") == found("**/*.txt") == ["a.txt", "b/c.txt"]
    assert found(".") == ["./a.txt", "./b/c.txt"]


@pytest.mark.parametrize("pattern", ["", "**", "**/*.txt", "*/**/*.txt"])
def test_loops_of_links_end_and_each_real_file_is_read_once(tmp_path: Path, pattern: str) -> None:
    write(tmp_path, "t/b/1.txt", "t/b/2.txt", "elsewhere/3.txt")
    folder = tmp_path / "t"
    (folder / "b" / "loop").symlink_to("..")
    (folder / "b" / "other loop").symlink_to(".")
    (folder / "again").symlink_to("b")
    (folder / "b" / "elsewhere").symlink_to(tmp_path / "elsewhere")
    (folder / "b" / "z.txt").symlink_to("1.txt")
    os.link(folder / "b" / "2.txt", folder / "b" / "y.txt")
    read = found(folder / pattern if pattern else folder)
    assert sorted(Path(path).read_text() for path in read) == ["elsewhere/3.txt", "t/b/1.txt", "t/b/2.txt"]


def test_files_to_which_a_network_disk_gives_one_number_are_not_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.txt", "longer name.txt")
    stat = os.stat

    def numberless(path: str) -> SimpleNamespace:
        of = stat(path)
        return SimpleNamespace(st_mode=of.st_mode, st_dev=1, st_ino=0, st_size=of.st_size, st_mtime_ns=of.st_mtime_ns)

    with monkeypatch.context() as patch:
        patch.setattr(text_files.os, "stat", numberless)
        read = found(tmp_path)
    assert len(read) == 2


def test_what_is_left_out_is_named_and_hidden_files_are_not(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", "b.json", "c.csv", "d.txt.xz", ".git/e.txt", ".DS_Store", "sub/f.PDF", "sub/g.txt")
    (tmp_path / "h.txt").symlink_to("nowhere")
    (tmp_path / "i.txt").symlink_to("a.txt")
    os.mkfifo(tmp_path / "j.txt")
    told = str(sources.left_out(Source("s", str(tmp_path))))
    assert told.startswith(f"{tmp_path}: 7 files were left out: {tmp_path}/b.json, {tmp_path}/c.csv, ")
    assert told.endswith(
        f"d.txt.xz, {tmp_path}/h.txt (a link to nothing), {tmp_path}/i.txt (the same file as {tmp_path}/a.txt), ..."
    )
    left_out = text_files.find(str(tmp_path)).left_out
    assert left_out[-2:] == [f"{tmp_path}/j.txt (a pipe or device)", f"{tmp_path}/sub/f.PDF"]
    assert text_files.find(f"{tmp_path}/s*").left_out == [f"{tmp_path}/sub (a folder)"]
    assert sources.left_out(Source("s", f"{tmp_path}/a*")) is None


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("fifo.txt", r"fifo\.txt \(a pipe or device\): not a file that is read: give one named \.txt, "),
        ("/dev/zero", r"/dev/zero \(a pipe or device\): not a file that is read"),
        ("dead.txt", r"dead\.txt \(a link to nothing\): not a file that is read"),
        ("a.json", r"a\.json: not a file that is read: name it \.jsonl if .*: jq -c"),
        ("a.txt.xz", r"a\.txt\.xz: not a file that is read: give one named .*\(also \.gz, \.zst or \.bz2\)"),
        ("empty.txt", r"empty\.txt: no file named \.txt.* is there$"),
        ("other", r"other: no file named \.txt.* is there; 1 file was left out: .*other/a\.pdf$"),
    ],
)
def test_a_place_without_text_is_named(tmp_path: Path, location: str, message: str) -> None:
    write(tmp_path, "a.json", "a.txt.xz", "other/a.pdf")
    (tmp_path / "empty.txt").mkdir()
    (tmp_path / "dead.txt").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo.txt")
    with pytest.raises(DataError, match=message):
        sources.plan(Source("s", str(tmp_path / location)), "text", tmp_path)


def test_a_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("text")
    with pytest.raises(DataError, match=r"\\udcff\.txt' is not UTF-8: rename it"):
        found(tmp_path)


def test_a_folder_that_may_not_be_read_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.txt")

    def denied(path: str) -> list[str]:
        raise PermissionError(13, "no", path)

    monkeypatch.setattr(text_files.os, "listdir", denied)
    with pytest.raises(PermissionError):
        found(tmp_path)


@pytest.mark.parametrize("second", ["a.txt", "*.txt", ".", "link.txt", "hard.txt"])
def test_a_file_in_two_sources_is_refused(tmp_path: Path, second: str) -> None:
    write(tmp_path, "a.txt", "sub/b.txt")
    (tmp_path / "link.txt").symlink_to("a.txt")
    os.link(tmp_path / "a.txt", tmp_path / "hard.txt")
    one, other = Source("one", str(tmp_path / "a.txt")), Source("other", str(tmp_path / second))
    with pytest.raises(DataError, match=r"--source one=.*a\.txt and --source other=.* both read .*--weight one=2"):
        sources.check_apart([one, other])
    sources.check_apart([one, Source("other", str(tmp_path / "sub"))])


def test_data_sets_of_one_name_are_refused() -> None:
    for location in ("docs", "wikimedia/wikipedia:20231101.en"):
        with pytest.raises(DataError, match="its text would be written twice"):
            sources.check_apart([Source("one", location), Source("other", location)])
    sources.check_apart([Source("one", "docs"), Source("other", "wikimedia/wikipedia")])
