"""`dockrion completion`: print the script with which a shell completes commands, options and files.

Written by hand rather than by a library, since none that fits argparse knows fish. All three scripts are made
from the same parser, so that they cannot differ from what the commands accept.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple

_FILES = frozenset({"FILE", "PATH", "DOCKFILE"})
_FOLDER = "DIR"


class _Argument(NamedTuple):
    """An option or a positional argument.

    Attributes:
        options: Its names, none for a positional argument.
        purpose: Its help.
        value: The name of its value; empty for an option without one.
        choices: The values that it may have, none if there are others.
        repeatable: Whether it may be given several times.
    """

    options: tuple[str, ...]
    purpose: str
    value: str
    choices: tuple[str, ...]
    repeatable: bool

    @property
    def takes_file(self) -> bool:
        return self.value in _FILES or self.value == _FOLDER


class _Command(NamedTuple):
    name: str
    purpose: str
    arguments: list[_Argument]

    @property
    def options(self) -> list[_Argument]:
        return [each for each in self.arguments if each.options]

    @property
    def positional(self) -> _Argument | None:
        return next((each for each in self.arguments if not each.options), None)


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `dockrion completion`."""
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help=" or ".join(_SHELLS))
    parser.set_defaults(command=_completion, verbose=False)


def _completion(options: argparse.Namespace) -> int:
    print(_SHELLS[options.shell](list(_commands(options.parser))), end="")
    return 0


def _commands(parser: argparse.ArgumentParser) -> Iterator[_Command]:
    """Yield the commands of a parser, and before them the program itself, without a name."""
    yield _Command("", "", [_argument(each) for each in parser._actions if each.option_strings])  # noqa: SLF001  argparse has no other way
    (commands,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))  # noqa: SLF001  as above
    purposes = {each.dest: each.help or "" for each in commands._choices_actions}  # noqa: SLF001  as above
    for name, command in commands.choices.items():
        shown = [each for each in command._actions if each.help != argparse.SUPPRESS]  # noqa: SLF001  as above
        yield _Command(name, purposes[name], [_argument(each) for each in shown])


def _argument(action: argparse.Action) -> _Argument:
    value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    choices = tuple(map(str, action.choices or ()))
    repeatable = isinstance(action, argparse._AppendAction)  # noqa: SLF001  as above
    return _Argument(
        tuple(action.option_strings),
        " ".join((action.help or "").replace("%%", "%").split()),
        "" if action.nargs == 0 else value,
        choices,
        repeatable,
    )


def _bash(commands: list[_Command]) -> str:
    program, *named = commands
    lines = [
        "# dockrion completion bash: source this, for example in ~/.bashrc",
        "_dockrion() {",
        "    local IFS=$'\\n' current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}",
        "    local words='' files=''",
        "    COMPREPLY=()",
        '    if [ "$COMP_CWORD" = 1 ]; then',
        f"        words={_words([*(each.name for each in named), *_option_names(program)])}",
        "    else",
        '        case "${COMP_WORDS[1]}" in',
    ]
    for command in named:
        lines += [f"        {command.name})", '            case "$previous" in']
        for option in command.options:
            if option.value:
                completed = _bash_value(option) or "return"
                lines.append(f"            {'|'.join(option.options)}) {completed} ;;")
        positional = _bash_value(command.positional) if command.positional else ""
        anything = [f"words=\"$words\"$'\\n'{_words(_option_names(command))}"]
        lines += [
            f"            *) {'; '.join([*filter(None, [positional]), *anything])} ;;",
            "            esac ;;",
        ]
    lines += [
        "        esac",
        "    fi",
        '    COMPREPLY=($(compgen -W "$words" -- "$current"))',
        '    if [ -n "$files" ]; then',
        '        COMPREPLY+=($(compgen "$files" -- "$current"))',
        "        compopt -o filenames 2>/dev/null",
        "    fi",
        "}",
        "complete -F _dockrion dockrion",
    ]
    return "\n".join(lines) + "\n"


def _bash_value(argument: _Argument) -> str:
    if argument.takes_file:
        return f"files={'-d' if argument.value == _FOLDER else '-f'}"
    return f"words={_words(argument.choices)}" if argument.choices else ""


def _words(words: list[str] | tuple[str, ...]) -> str:
    return "$'" + "\\n".join(words) + "'"


def _option_names(command: _Command) -> list[str]:
    return [name for option in command.options for name in option.options]


def _zsh(commands: list[_Command]) -> str:
    program, *named = commands
    lines = [
        "#compdef dockrion",
        "# dockrion completion zsh: source this, for example in ~/.zshrc after compinit",
        "_dockrion() {",
        "    local -a commands",
        "    commands=(",
        *(f"        {_quoted(f'{each.name}:{each.purpose}')}" for each in named),
        "    )",
        "    if (( CURRENT == 2 )); then",
        "        _describe -t commands command commands",
        f"        _arguments {' '.join(map(_zsh_option, program.options))}",
        "        return",
        "    fi",
        "    local command=$words[2]",
        "    shift words",
        "    (( CURRENT-- ))",
        '    case "$command" in',
    ]
    for command in named:
        specs = [_zsh_option(option) for option in command.options]
        if (positional := command.positional) is not None:
            specs.append(_quoted(f"1:{positional.value}:{_zsh_value(positional)}"))
        lines.append(f"    {command.name}) _arguments {' '.join(specs)} ;;")
    lines += [
        "    esac",
        "}",
        'if [ "$funcstack[1]" = _dockrion ]; then _dockrion "$@"; else compdef _dockrion dockrion; fi',
    ]
    return "\n".join(lines) + "\n"


def _zsh_option(option: _Argument) -> str:
    purpose = f"[{_without_markup(option.purpose)}]"
    value = f":{option.value}:{_zsh_value(option)}" if option.value else ""
    excluded = "*" if option.repeatable else f"({' '.join(option.options)})"
    return " ".join(_quoted(f"{excluded}{name}{purpose}{value}") for name in option.options)


def _zsh_value(argument: _Argument) -> str:
    if argument.choices:
        return f"({' '.join(argument.choices)})"
    if argument.takes_file:
        return "_files -/" if argument.value == _FOLDER else "_files"
    return " "


def _without_markup(text: str) -> str:
    """Escape what ends a description in a specification of `_arguments`."""
    return text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")


def _fish(commands: list[_Command]) -> str:
    program, *named = commands
    lines = [
        "# dockrion completion fish: save this as $__fish_config_dir/completions/dockrion.fish",
        "function __dockrion_command",
        "    set -l words (commandline -opc)",
        '    test (count $words) -gt 1; and test "$words[2]" = "$argv[1]"',
        "end",
        "function __dockrion_no_command",
        "    test (count (commandline -opc)) -eq 1",
        "end",
        "complete -c dockrion -f",
    ]
    begin = "complete -c dockrion -n __dockrion_no_command"
    lines += [f"{begin}{_fish_argument(each)}" for each in program.arguments]
    lines += [f"{begin} -a {each.name} -d {_fish_quoted(each.purpose)}" for each in named]
    for command in named:
        begin = f"complete -c dockrion -n '__dockrion_command {command.name}'"
        lines += [f"{begin}{_fish_argument(each)}" for each in command.arguments]
    return "\n".join(lines) + "\n"


def _fish_argument(argument: _Argument) -> str:
    text = "".join(
        f" -l {name[2:]}" if name.startswith("--") else f" -s {name[1:]}" for name in argument.options
    )
    if argument.choices:
        text += f"{' -x' if argument.options else ''} -a {_fish_quoted(' '.join(argument.choices))}"
    elif argument.value == _FOLDER:
        text += f"{' -x' if argument.options else ''} -a '(__fish_complete_directories)'"
    elif argument.takes_file:
        text += " -r -F" if argument.options else " -F"
    elif argument.value:
        text += " -x" if argument.options else ""
    return f"{text} -d {_fish_quoted(argument.purpose)}" if argument.options else text


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


_SHELLS: dict[str, Callable[[list[_Command]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
