"""Completion in the shell. It uses typer's scripts, but for bash one that also completes behind `=`."""

import os
from typing import Any

_BASH = """
%(complete_func)s() {
    # bash ends a word at = and :, so that it reads method=ap as three words. This script reads it as one.
    local line="${COMP_LINE:0:COMP_POINT}" last="${COMP_WORDS[COMP_CWORD]}" words
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    local whole="${words[-1]}"
    [[ $last == [=:] ]] && last=""
    local IFS=$'\\n'
    COMPREPLY=( $( env COMP_WORDS="$line" COMP_CWORD=$(( ${#words[@]} - 1 )) \\
                   %(autocomplete_var)s=complete_bash "$1" ) )
    COMPREPLY=( "${COMPREPLY[@]#"${whole%%"$last"}"}" )
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}

complete -o default -F %(complete_func)s %(prog_name)s
"""


def answer_shell(command: Any, program: str) -> None:
    """If a shell asks what may come next, answer it and end. Otherwise return.

    Raises:
        SystemExit: the shell was answered.
    """
    from typer import _completion_shared  # typer has no public way to give it another script

    _completion_shared._completion_scripts["bash"] = _BASH
    if f"_{program.upper().replace('-', '_')}_COMPLETE" in os.environ:
        command(prog_name=program)
