"""`python -m gpu_trial speed`, `kill CHECKPOINTS COMMAND...` or `judge`, as gpu_trial.sh calls it."""

import sys


def main(what: str, *arguments: str) -> int:
    """Do one of the parts. Returns the exit code."""
    if what == "kill":
        from gpu_trial.kill import kill_after_checkpoint

        kill_after_checkpoint(int(arguments[0]), arguments[1:])
        return 0
    if what == "speed":
        from gpu_trial.timing import measure

        measure()
        return 0
    from gpu_trial.judge import judge

    return 0 if judge() else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
