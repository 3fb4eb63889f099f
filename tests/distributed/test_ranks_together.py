"""What starts the ranks waits for all, passes signals on, and ends those that wait for one that is gone.

In place of Python a short script plays the ranks.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from apollo_ds.training import launch
from apollo_ds.training.launch import End, Ranks

Play = Callable[..., End]

# Like a rank, it notes how SIGUSR1 comes, blocked, and then listens.
_RANK = """#!{python}
import os, signal, sys
blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
os.environ["KEEPS_SIGNALS"] = str(signal.SIGUSR1 in blocked)
os.execv("/bin/bash", ["bash", "-c", {script!r}, *sys.argv])
"""


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Launches two ranks that do what a script says; sends this process signals when both are `ready`."""
    monkeypatch.setattr(launch, "_MEASURES", ((0.5, signal.SIGTERM), (1.0, signal.SIGKILL)))
    monkeypatch.chdir(tmp_path)

    def send(numbers: tuple[signal.Signals, ...]) -> None:
        while len(list(tmp_path.glob("ready-*"))) < 2:
            time.sleep(0.01)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.3)

    def played(script: str, *numbers: signal.Signals) -> End:
        python = tmp_path / "python"
        python.write_text(_RANK.format(python=sys.executable, script=f"ready() {{ touch ready-$RANK; }}\n{script}"))
        python.chmod(0o755)
        with monkeypatch.context() as patched:
            patched.setattr("sys.executable", str(python))
            sender = threading.Thread(target=send, args=(numbers,), daemon=True)
            if numbers:
                sender.start()
            end = launch.launch(["recipe.yaml", "steps=3"], Ranks(2, on_gpus=False))
        if numbers:
            sender.join()
        return end

    return played


def test_the_ranks_are_started_alike(play: Play, tmp_path: Path) -> None:
    """A signal that comes before they listen waits, and nothing reaches them from the terminal."""
    assert play('echo "$LOCAL_RANK of $WORLD_SIZE, $KEEPS_SIGNALS: $*" >rank-$RANK; cat') == End(0, was_asked=False)
    said = [(tmp_path / f"rank-{rank}").read_text() for rank in range(2)]
    assert said == [f"{rank} of 2, True: -u -P -m apollo_ds train recipe.yaml steps=3\n" for rank in range(2)]


_OTHER_IS_GONE = "until [ -s other ] && ! kill -0 $(<other); do sleep 0.05; done"


def test_the_code_is_that_of_the_first_that_fails(play: Play) -> None:
    assert play(f"[ $RANK = 0 ] && {_OTHER_IS_GONE} && exit 3; echo $$ >other; exit 2") == End(2, was_asked=False)


_WAITS = "ready; for i in {1..600}; do sleep 0.05; done; exit 1"


@pytest.mark.parametrize(
    ("first", "then", "code", "words"),
    [
        ("exit 76", "kill -9 $$", 137, "rank 1 was ended by SIGKILL, as the kernel does when memory runs out; "),
        ("kill -BUS $$", "exit 76", 135, "rank 0 was ended by SIGBUS: a file that it had mapped was cut short, "),
        ("exit 76", "exit 70", 70, None),
        ("exit 76", "exit 76", 76, "the ranks lost their connection to each other; "),
        ("exit 76", _WAITS, 76, "the ranks lost their connection to each other; "),
        ("exit 1", "exit 76", 1, "rank 0 ended with exit code 1; "),
    ],
)
def test_the_cause_comes_before_its_consequences(play: Play, first: str, then: str, code: int, words: str) -> None:
    """Whether the rank that was lost or the ones that lost it end first."""
    end = play(f"[ $RANK = 0 ] && {{ {first}; }}; sleep 0.2; {then}")
    assert end.code == code
    assert end.words is None if words is None else end.words.startswith(words)


@pytest.mark.parametrize(
    ("other", "noted"),
    [
        pytest.param("sleep 0.2; echo by itself >end", "by itself\n", id="may end by itself"),
        pytest.param(f"trap 'echo told >end; exit' TERM; {_WAITS}", "told\n", id="is told to end"),
        pytest.param(f"trap '' TERM; echo stuck >end; {_WAITS}", "stuck\n", id="is killed"),
    ],
)
def test_when_one_rank_has_failed_the_other(other: str, noted: str, play: Play, tmp_path: Path) -> None:
    assert play(f"[ $RANK = 1 ] && sleep 0.3 && exit 124; {other}").code == 124
    assert (tmp_path / "end").read_text() == noted


_SAVES = f"trap 'echo saved >>saved-$RANK; sleep 1; exit 75' USR1; {_WAITS}"


@pytest.mark.parametrize("number", launch.SIGNALS)
def test_a_signal_reaches_every_rank_once(number: signal.Signals, play: Play, tmp_path: Path) -> None:
    inherited = signal.signal(number, signal.SIG_DFL)  # what starts the tests may ignore it
    try:
        another = next(other for other in launch.SIGNALS if other != number)
        assert play(_SAVES, number, another) == End(75, was_asked=True)
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, inherited)
    assert [(tmp_path / f"saved-{rank}").read_text() for rank in range(2)] == ["saved\n", "saved\n"]


def test_the_same_signal_again_ends_them_at_once(play: Play) -> None:
    assert play(f"trap '' USR1; {_WAITS}", signal.SIGTERM, signal.SIGTERM).code == 128 + signal.SIGKILL


def test_an_ignored_signal_stays_ignored(play: Play) -> None:
    inherited = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert play("trap 'exit 75' USR1; ready; sleep 1", signal.SIGHUP) == End(0, was_asked=False)
    finally:
        signal.signal(signal.SIGHUP, inherited)
