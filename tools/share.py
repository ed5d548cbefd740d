"""Writes share/: the man page, and completions for bash, zsh and fish, from the parser (tfgpu_tui/cli/table.py).

    python -m tools.share            # writes the files
    python -m tools.share --check    # exit code 1 where they are not what would be written

A wheel installs the folder into the environment's share/. Runs, findings and demos are asked of the tool itself, as
they are when Tab is pressed.
"""

from __future__ import annotations

import os
import re
import sys
from argparse import Action, ArgumentParser
from pathlib import Path

HOME = "/home/of-the-user"
os.environ["HOME"] = HOME
os.environ.pop("XDG_CONFIG_HOME", None)

from tfgpu_tui.cli import arguments, table  # noqa: E402
from tfgpu_tui.core import knobs, severity  # noqa: E402
from tfgpu_tui.runs import configuration  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SHARE = ROOT / "share"
NAME = "tfgpu-tui"
LISTS = {
    "RUN": "{ echo last; tfgpu-tui runs 2>/dev/null | sed -n 's/^\\([^ ]*-[0-9][^ ]*\\) .*/\\1/p'; }",
    "ID": "tfgpu-tui explain 2>/dev/null | sed -n 's/^ *\\([a-z]*\\.[a-z0-9_]*\\) .*/\\1/p'",
    "NAME": "tfgpu-tui demo --list 2>/dev/null | sed -n 's/^  \\([a-z][A-Za-z0-9_-]*\\) .*/\\1/p'",
}
"""Metavar of a verb's positional argument -> shell command that lists what it can be."""
STATUSES = {
    "a script": "its own once it has ended (128 and the signal where one ended it), 0 where the screen was left before",
    "try": "0: something helps; 1: nothing that was tried does; 2: it could not be tried, or not to the end",
    "doctor": "0: a GPU will be used; 1: it won't; 2: can't tell",
    "compare --fail-if": "0: all limits are kept; 1: one is broken; 3: one can't be judged, and none is broken",
    "all": "2: the command can't be carried out; 70: a mistake of the tool's own",
}
FILES, FOLDERS = ("PATH", "FILE"), ("DIR",)
KNOBS = [f"{name}=" for name in knobs.ALL]
VALUES = {
    "theme": ["dark", "light", "ansi"],
    "on_finding_severity": list(severity.SEVERITIES),
    "set": KNOBS,
    "knobs": KNOBS,
}
"""What an option's value can be, or how it begins; its own choices aside."""


def parsers() -> dict[str, ArgumentParser]:
    """The tool's own options, under the empty name, and each verb's."""
    found: dict[str, ArgumentParser] = {"": arguments.options_parser()}
    for name, verb in table.VERBS.items():
        found[name] = ArgumentParser(prog=f"{NAME} {name}", allow_abbrev=False)
        verb.arguments(found[name])
    return found


def _options(parser: ArgumentParser) -> list[Action]:
    return [action for action in parser._actions if action.option_strings]


def _positional(parser: ArgumentParser) -> list[str]:
    """The metavars of what stands behind a verb without an option's name."""
    return [str(action.metavar) for action in parser._actions if not action.option_strings]


def _listed(parser: ArgumentParser) -> str | None:
    """The metavar of the positional argument that can be listed."""
    return next((metavar for metavar in _positional(parser) if metavar in LISTS), None)


def _takes_files(name: str, parser: ArgumentParser) -> bool:
    """Whether what stands behind a verb may be a path: a script, or a run by its own."""
    return table.VERBS[name].script or "RUN" in _positional(parser)


def _values(action: Action) -> list[str]:
    return list(map(str, action.choices or VALUES.get(action.dest, [])))


def _help(action: Action) -> str:
    return (action.help or "").replace("%%", "%").replace(HOME, "~")


def _takes(action: Action) -> bool:
    return action.nargs != 0


def _words(actions: list[Action]) -> str:
    return " ".join(word for action in actions for word in action.option_strings)


# bash


def bash() -> str:
    """Completion for bash; also where bash-completion is not installed. Where it finds nothing and `default` is on,
    readline goes on with files."""
    every = parsers()
    options = [action for parser in every.values() for action in _options(parser) if _takes(action)]
    words = {action.dest: "|".join(action.option_strings) for action in options}
    plain = sorted(
        {w for a in options if not _values(a) and a.metavar not in FILES + FOLDERS for w in a.option_strings}
    )
    of_files = sorted({w for a in options if a.metavar in FILES for w in a.option_strings})
    of_folders = sorted({w for a in options if a.metavar in FOLDERS for w in a.option_strings})
    given = [
        f'        {words[a.dest]}) COMPREPLY=($(compgen -W "{" ".join(_values(a))}" -- "$cur"))'
        f"{'; compopt -o nospace' if _values(a) == KNOBS else ''}; return;;"
        for a in {action.dest: action for action in options if _values(action)}.values()
    ]
    cases = []
    for name, parser in every.items():
        if name:
            listed = _listed(parser)
            more = f"; more=$({LISTS[listed]})" if listed else ""
            files = "; compopt -o default" if _takes_files(name, parser) else ""
            cases.append(f'        {name}) words="{_words(_options(parser))}"{more}{files};;')
    return "\n".join([
        f"# Completion of {NAME} for bash. Made by `python -m tools.share`.",
        "_tfgpu_tui() {",
        '    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb= words= more= i',
        "    COMPREPLY=()",
        "    for ((i = 1; i < COMP_CWORD; i++)); do",
        "        case ${COMP_WORDS[i]} in",
        f"            {'|'.join(sorted({w for a in options for w in a.option_strings}))}) ((i++));;",
        "            -*) ;;",
        "            *) verb=${COMP_WORDS[i]}; break;;",
        "        esac",
        "    done",
        "    case $prev in",
        f"        {'|'.join(of_files)}) compopt -o default; return;;",
        f"        {'|'.join(of_folders)}) compopt -o dirnames; return;;",
        *given,
        f"        {'|'.join(plain)}) return;;",
        "    esac",
        "    case $verb in",
        f"        '') words=\"{' '.join(table.VERBS)} {_words(_options(every['']))}\"; compopt -o default;;",
        *cases,
        "        *) compopt -o default; return;;",
        "    esac",
        '    [[ $cur == -* ]] || words="$words $more"',
        '    COMPREPLY=($(compgen -W "$words" -- "$cur"))',
        "    if [[ -z $verb && $cur != -* ]]; then",
        "        local IFS=$'\\n'",
        '        COMPREPLY+=($(compgen -f -- "$cur")); compopt -o filenames',
        "    fi",
        "}",
        f"complete -F _tfgpu_tui {NAME}",
        "",
    ])  # fmt: skip


# zsh


def _zsh_spec(action: Action) -> str:
    said = re.sub(r"([\[\]:\\])", r"\\\1", _help(action)).replace("'", "’")
    names = action.option_strings
    repeated = "*" if type(action).__name__ == "_AppendAction" else ""
    value = ""
    if _takes(action):
        optional = ":" if action.nargs == "?" else ""
        what = f"({' '.join(_values(action))})" if _values(action) else ""
        if _values(action) == KNOBS:
            what = f'{{compadd -S "" {" ".join(KNOBS)}}}'
        elif action.metavar in FILES:
            what = "_files"
        elif action.metavar in FOLDERS:
            what = "_files -/"
        value = f"{optional}:{action.metavar or action.dest}:{what}"
    if len(names) == 1:
        return f"'{repeated}{names[0]}[{said}]{value}'"
    return f"'({' '.join(names)})'{{{','.join(names)}}}'[{said}]{value}'"


def zsh() -> str:
    """Completion for zsh, as `_tfgpu-tui` in a folder of $fpath."""
    every = parsers()
    verbs = [f"        '{name}:{verb.help.replace(chr(39), '’').replace(':', chr(92) + ':')}'" for name, verb in table.VERBS.items()]  # fmt: skip
    cases = []
    for name, parser in every.items():
        if not name:
            continue
        specs = [f"                {_zsh_spec(action)}" for action in _options(parser)]
        for place, metavar in enumerate(_positional(parser), 1):
            if metavar in LISTS:
                specs.append(f"                '{place}:{metavar}:_tfgpu_tui_{metavar.lower()}'")
        if table.VERBS[name].script:
            specs.append("                '*:script:_files'")
        cases += [f"            {name}) _arguments \\", " \\\n".join(specs), "                ;;"]
    functions = [
        f'_tfgpu_tui_{name.lower()}() {{\n    local -a found\n    found=(${{(f)"$({command})"}})\n    compadd -a found{" || _files" if name == "RUN" else ""}\n}}\n'
        for name, command in LISTS.items()
    ]
    return "\n".join([
        f"#compdef {NAME}",
        "# Made by `python -m tools.share`.",
        *functions,
        "_tfgpu_tui() {",
        "    local curcontext=$curcontext state line",
        "    local -a verbs",
        "    verbs=(", *verbs, "    )",
        "    _arguments -C -S \\",
        *(f"        {_zsh_spec(action)} \\" for action in _options(every[""])),
        "        '1: :->first' '*:: :->rest'",
        "    case $state in",
        "        first) _describe -t verbs verb verbs; _files;;",
        "        rest) case $line[1] in",
        *cases,
        "            *) _files;;",
        "        esac;;",
        "    esac",
        "}",
        '_tfgpu_tui "$@"',
        "",
    ])  # fmt: skip


# fish


def fish() -> str:
    """Completion for fish."""
    every = parsers()
    valued = sorted({w for parser in every.values() for a in _options(parser) if _takes(a) for w in a.option_strings})
    lines = [
        f"# Completion of {NAME} for fish. Made by `python -m tools.share`.",
        "function __tfgpu_tui_at --description 'the verb, or the script, is this; empty: there is none yet'",
        "    set -l verb",
        "    set -l value no",
        "    for word in (commandline -opc)[2..-1]",
        "        if test $value = yes",
        "            set value no",
        f"        else if contains -- $word {' '.join(valued)}",
        "            set value yes",
        "        else if not string match -q -- '-*' $word",
        "            set verb $word",
        "            break",
        "        end",
        "    end",
        '    test "$verb" = "$argv[1]"',
        "end",
    ]
    for name, verb in table.VERBS.items():
        lines.append(f"complete -c {NAME} {_at('')} -a {name} -d {_fish(verb.help)}")
    for name, parser in every.items():
        where = _at(name)
        for action in _options(parser):
            names = [f"-l {word[2:]}" if word.startswith("--") else f"-s {word[1:]}" for word in action.option_strings]
            value = ""
            if _takes(action) and action.nargs != "?":
                value = " -r" if action.metavar in FILES + FOLDERS else " -x"
            if _values(action):
                value += f" -a '{' '.join(_values(action))}'"
            lines.append(f"complete -c {NAME} {where} {' '.join(names)}{value} -d {_fish(_help(action))}")
        listed = _listed(parser)
        found = ""
        if name and listed:
            command = LISTS[listed].replace("{ ", "begin; ").replace("; }", "; end").replace("'", "\\'")
            found = f" -a '({command.replace(chr(92) * 2, chr(92))})'"
        if name and (found or not _takes_files(name, parser)):
            no_files = "" if _takes_files(name, parser) else " -f"
            lines.append(f"complete -c {NAME} {where}{no_files}{found}")
    return "\n".join([*lines, ""])


def _at(verb: str) -> str:
    return f"-n '__tfgpu_tui_at \"{verb}\"'"


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# man


def man() -> str:
    """tfgpu-tui(1)."""
    every = parsers()
    synopsis = re.findall(r"^(?:usage:|      ) (tfgpu-tui .*)$", arguments.USAGE, re.MULTILINE)
    said = arguments.USAGE.partition("\n\nusage:")[0].partition("\n\nThe script needs")[2]
    lines = [
        '.\\" Made by `python -m tools.share`.',
        f'.TH {NAME.upper()} 1 "" "{NAME}" "User Commands"',
        ".SH NAME", f"{NAME} \\- shows where the time of a TensorFlow training goes, while it runs",
        ".SH SYNOPSIS", ".nf", *(_roff(line) for line in synopsis),
        *(_roff(f"{NAME} {name} {verb.takes}".rstrip()) for name, verb in table.VERBS.items()), ".fi",
        ".SH DESCRIPTION", _roff(arguments.USAGE.partition("\n")[0]), ".PP", *map(_roff, f"The script needs{said}".split("\n")),
        ".SH OPTIONS", *_entries(every[""]),
        ".SH COMMANDS", "RUN is an id, the beginning of one, \\fBlast\\fR, or a path.",
    ]  # fmt: skip
    for name, verb in table.VERBS.items():
        lines += [
            f".SS {NAME} {name} {_roff(verb.takes)}".rstrip(),
            _roff(verb.help),
            *_entries(every[name], with_help=False),
        ]
    return "\n".join([
        *lines,
        ".SH EXIT STATUS",
        *(line for status, said in STATUSES.items() for line in (".TP", status, _roff(said))),
        ".SH ENVIRONMENT",
        "An option wins over its variable, which wins over the configuration file: "
        + ", ".join(f"TFGPU_TUI_{key.upper()}" for key in configuration.KEYS)
        + ". TFGPU_TUI_STATE_DIR names the folder of all that is recorded.",
        ".SH FILES",
        ".TP", "~/.config/tfgpu\\-tui/config.toml", "settings; --config names another file",
        ".TP", "~/.local/state/tfgpu\\-tui/runs", "what was recorded",
        "",
    ])  # fmt: skip


def _entries(parser: ArgumentParser, with_help: bool = True) -> list[str]:
    lines = []
    for action in parser._actions:
        value = f" \\fI{_roff(str(action.metavar or action.dest))}\\fR" if _takes(action) else ""
        names = ", ".join(f"\\fB{_roff(name)}\\fR" for name in action.option_strings)
        said = _help(action) + (f": {', '.join(map(str, action.choices))}" if action.choices else "")
        if with_help or action.dest != "help":
            lines += [".TP", f"{names}{value}".strip(), _roff(said)]
    return lines


def _roff(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def written() -> dict[Path, str]:
    """Each file with its text."""
    return {
        SHARE / "bash-completion" / "completions" / NAME: bash(),
        SHARE / "zsh" / "site-functions" / f"_{NAME}": zsh(),
        SHARE / "fish" / "vendor_completions.d" / f"{NAME}.fish": fish(),
        SHARE / "man" / "man1" / f"{NAME}.1": man(),
    }


def main() -> int:
    """The exit status."""
    stale = [path for path, text in written().items() if not path.is_file() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        print(
            *(f"{path.relative_to(ROOT)} is not what the parser says: python -m tools.share" for path in stale),
            sep="\n",
        )
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written()[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
