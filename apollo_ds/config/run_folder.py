"""A run's folder: the places of its files, the lock on it, and whether a recipe may go on in it."""

import hashlib
import logging
import os
import platform
import socket
import subprocess
import time
from pathlib import Path
from typing import IO, Any

from apollo_ds.checkpoint.find import has_traces
from apollo_ds.config.extension import check_extension, extend
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.recorded import read_recorded, write_recorded
from apollo_ds.data.text import Text, in_words
from apollo_ds.errors import UserError, shown
from apollo_ds.version import __version__, installed_version
from data_prep import files
from data_prep.folder import holds_something

_log = logging.getLogger(__name__)
_SECONDS_TO_LET_GO = 60.0
_WRITTEN = ("metrics.jsonl", "report", "export")
"""Files that a run replaces, beside its own config.yaml and checkpoints."""
_PACKAGE = Path(__file__).parents[1]
_PACKAGES = ("torch", "deepspeed", "transformers", "datasets", "tensorboard", "numpy")


class RunFolder:
    """A run's folder, and the paths inside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.export = path / "export"
        self.report = path / "report"
        self._lock: IO[str] | None = None

    @property
    def exists(self) -> bool:
        """Whether a run was started here."""
        return self.config.is_file()

    @property
    def is_in_use(self) -> bool:
        """Whether a job has claimed the folder. False if this cannot be found out."""
        try:
            with open(self.path / "lock") as file:
                files.lock(file, self.path, shared=True)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def check(self, recipe: Recipe) -> None:
        """Check that the run in the folder can go on with a recipe.

        Raises:
            UserError: a key that may not change, the tokenizer or the text differs. The message names it and the ways
                out.
        """
        if not self.exists:
            self._check_place()
            if has_traces(self.checkpoints):
                raise UserError(
                    f"{self.config}: is missing, but there are checkpoints, and nothing tells which recipe and text "
                    "made them; restore it, or use another folder with out=..."
                )
            self._check_free()
            return
        recorded, now = read_recorded(self.config), recipe.plain()
        before = recorded.recipe
        if self._is_extended(before, now):
            check_extension(self.path, Recipe.model_validate(before), recipe)
        elif keys := _differing(before, now):
            raise UserError(
                f"{self.config}: this run was started with {keys[0]}"
                f"{_difference(before.get(keys[0]), now.get(keys[0]))}; use the same recipe, or another folder with "
                "out=..."
            )
        for key, (name, is_now) in _text(Text.open(recipe.data)).items():
            if getattr(recorded, key) not in (None, is_now):
                what = "folders and weights" if isinstance(before["data"], dict) else "folder"
                raise UserError(
                    f"data: {in_words(recipe.data)} is not the text that the run in {self.path} was started with: "
                    f"{name} differs; name that text's {what}, or use another folder for the run with out=..."
                )

    def _is_extended(self, before: dict[str, Any], now: dict[str, Any]) -> bool:
        """Whether a recipe has more steps than the run was started with, and differs only in keys that plan steps."""
        return now["steps"] > before["steps"] and set(_differing(before, now)) <= Recipe.may_change_ahead()

    def _check_place(self) -> None:
        """Check that the folder can be made."""
        nearest = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
        if not nearest.is_dir():
            raise UserError(f"out: {nearest} is a file; move it away, or use another folder with out=...")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise UserError(f"out: {nearest} may not be written to by this user; use another folder with out=...")

    def _check_free(self) -> None:
        """Check that a new run would not write over files of others."""
        for name in _WRITTEN:
            path = self.path / name
            if holds_something(path):
                raise UserError(
                    f"out: {path} exists, but no {self.config.name} says that a run made it, and a new run would write "
                    "over it; move it away, or use another folder with out=..."
                )

    def run_id(self) -> str:
        """The run's identifier. It is the same in config.yaml and in each checkpoint.

        Raises:
            UserError: config.yaml is missing or damaged.
        """
        return str(read_recorded(self.config).run)

    def claim(self, patience: float = _SECONDS_TO_LET_GO) -> None:
        """Keep other jobs out until `release`, or until this process ends in whatever way.

        If another job has the folder, it waits: that job may be about to stop. A file system without locks keeps nobody
        out, and a line says so.

        Raises:
            UserError: another job keeps the folder for `patience` seconds, or the folder cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / "lock", "a+", opener=_not_through_a_link)  # noqa: SIM115
        except OSError as error:
            raise _cannot_write(self.path, error) from None
        give_up = time.monotonic() + patience
        while True:
            try:
                files.lock(self._lock, self.path)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    self._lock.seek(0)
                    raise UserError(
                        f"out: {self.path} is in use by another job ({self._lock.read().strip()}); "
                        "stop it, or use another folder with out=..."
                    ) from None
                time.sleep(0.2)
            except OSError as error:
                raise _cannot_write(self.path, error) from None
        for path in (self.config, self.checkpoints / "latest"):
            files.remove_unfinished(path)
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._lock.flush()

    def release(self) -> None:
        """Let other jobs in again."""
        if self._lock:
            self._lock.close()
            self._lock = None

    def create(self, recipe: Recipe) -> None:
        """Make the folder and write config.yaml: the recipe, the hashes of its text, and the versions of packages.

        The identifier of a run that has begun stays. Call this while the folder is claimed, so that no other job writes
        its recipe in between.

        Raises:
            UserError: another run is there, the folder cannot be written to, or the recipe's text is missing.
        """
        self.check(recipe)
        recorded = read_recorded(self.config) if self.exists else None
        text = {key: value for key, (_, value) in _text(Text.open(recipe.data)).items()}
        run = recorded.run if recorded else None
        if recorded and run is None:
            _log.warning(
                "%s: an earlier version wrote it, without a hash of itself, so that damage to it could go unnoticed; "
                "it has one now",
                self.config,
            )
        config = {"recipe": recipe.plain(), "run": run or _identity(recipe, text), **text, **_circumstances()}
        try:
            if recorded and self._is_extended(recorded.recipe, recipe.plain()):
                extend(self.path, run, Recipe.model_validate(recorded.recipe), recipe)
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            write_recorded(self.config, config)
        except OSError as error:
            raise _cannot_write(self.path, error) from None


def _not_through_a_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _cannot_write(folder: Path, error: OSError) -> UserError:
    what = error.filename or folder
    return UserError(f"out: cannot write to {what}: {error.strerror}; mend that, or use another folder with out=...")


def _text(text: Text) -> dict[str, tuple[str, str]]:
    """The hashes by which a run knows its text. For each key in config.yaml: what it is, in words, and its hash."""
    return {
        "tokenizer": ("its tokenizer", text.vocabulary.tokenizer_hash),
        "train": ("its training text", text.train_hash),
        "held_out": ("its held-out text", text.held_out_hash),
    }


def _identity(recipe: Recipe, text: dict[str, str]) -> str:
    fixed = {key: value for key, value in recipe.plain().items() if key not in Recipe.may_change()}
    return files.hash_of_values({"recipe": fixed, "text": text})


def _differing(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The keys that decide a run and differ between two recipes."""
    return [k for k in sorted((before.keys() | now.keys()) - Recipe.may_change()) if before.get(k) != now.get(k)]


def _difference(before: Any, now: Any, prefix: str = "") -> str:
    """The first place where two values differ, such as `.layers [1, 3, 6], not [1, 2, 6]`, or the names of methods."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in ("name", "family"):
            if before.get(name) != now.get(name):
                return f"{prefix} {before.get(name)}, not {now.get(name)}"
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                return _difference(before.get(key), now.get(key), f"{prefix}.{key}")
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        place, old, new = next(
            (n, old, new) for n, (old, new) in enumerate(zip(before, now, strict=True)) if old != new
        )
        if isinstance(old, dict):
            return _difference(old, new, f"{prefix}[{place}]".replace(".parts", ""))
    return f"{prefix} {_plainly(before)}, not {_plainly(now)}"


def _plainly(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else shown(value)


def _circumstances() -> dict[str, Any]:
    described = _git("describe", "--always", "--dirty", "--abbrev=40")
    return {
        "versions": {
            "apollo_ds": __version__,
            "python": platform.python_version(),
            **{name: installed_version(name) for name in _PACKAGES},
        },
        "git_commit": described.decode().strip() if described else None,
        "git_diff": git_diff(),
        "ranks": int(os.environ.get("WORLD_SIZE", "1")),
    }


def git_diff() -> str | None:
    """A hash of how the code that runs differs from its commit. None if it does not differ, or if there is no git.

    It covers what `git diff HEAD` prints for the whole repository, and the path and content of each file of this
    package that git does not track. Without such files it is the beginning of `git diff HEAD | sha256sum`.
    """
    changed, unknown = _git("diff", "HEAD"), _git("ls-files", "--others", "--exclude-standard", "-z")
    new = [_PACKAGE / os.fsdecode(name) for name in (unknown or b"").split(b"\0") if name]
    if not changed and not new:
        return None
    digest = hashlib.sha256(changed or b"")
    for path in filter(Path.is_file, new):
        digest.update(os.fsencode(path.relative_to(_PACKAGE)) + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _git(*words: str) -> bytes | None:
    """The output of git in this package. None if there is no git, or if git does not track the package.

    An installed package may lie inside somebody else's repository, whose commit says nothing about it.
    """
    try:
        for command in (["ls-files", "--error-unmatch", "__init__.py"], words):
            done = subprocess.run(["git", *command], cwd=_PACKAGE, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout
