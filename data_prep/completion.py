"""Completion in the shell, by typer's scripts; in bash by one that also completes behind `=`."""

import os
from typing import Any

_BASH = """
%(complete_func)s() {
    # bash takes = and : for ends of words, so that method=ap is three of them. Here, it is one.
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
    """Answer a shell that asks what may come next, and end; return if none does.

    Raises:
        SystemExit: it was answered.
    """
    from typer import _completion_shared  # typer has no public way to give it another script

    _completion_shared._completion_scripts["bash"] = _BASH
    if f"_{program.upper().replace('-', '_')}_COMPLETE" in os.environ:
        command(prog_name=program)
