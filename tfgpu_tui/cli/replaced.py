"""Names of a user and of what is his, replaced in what is told of a run: the same name by the same word everywhere."""

from __future__ import annotations

import os
import re
from typing import Any

SHORTEST = 4
"""Characters of a name or an argument that is replaced within texts; a shorter one only where it stands for itself."""
_PATH = re.compile(r"(?<![\w.])/(?:[^\s/'\"`,;:()\[\]<>|=]+/?)+")
_RELATIVE = re.compile(r"(?<![\w./-])(?:[\w.~+@-]+/)+[\w+@-][\w.+@-]*\.[A-Za-z]\w{0,7}(?!\w)")
_QUOTED = re.compile(r"""(['"])([^'"\s]+\.[A-Za-z]\w{0,7})\1""")
"""A file that a line of the script or a message of an error names."""
_RUN = re.compile(r"[\w.-]+-\d{8}-\d{6}(?:-\d+)?(?![\w-])")
_WORD = re.compile(r"\w+")
"""Of the journal's own language (`train`, `gpu`), or the name of a layer, a function, a metric: where it is all of a
text it stays."""
_OF_THE_SYSTEM = ("usr", "lib", "lib64", "bin", "sbin", "etc", "proc", "sys", "dev")
_OF_LIBRARIES = ("tensorflow", "keras", "tf_keras", "numpy", "external", "third_party", "xla", "tsl")
_KEPT = re.compile(r"lib|bin|python[\d.]*|site-packages|dist-packages|[A-Z]+:\d+|~|(?:device|job|replica|task).*")
_KINDS = {"host": "host", "parent": "run", "group": "run", "job": "job"}
"""Fields whose whole value is a name -> of what."""
_PEOPLE = ("user-", "host-")
"""Names of a person or a machine are such within a longer word, too: `ckpt_of_anna`."""
_PATHS = ("file", "at_file", "cwd", "python", "executable", "prefix", "folder", "mount", "path")
"""Fields that are a path, blanks in it included."""
_OF_CODE = ("text", "message")
"""Fields with a line of the script, or with what an error says."""


class Replaced:
    """What stands for what, the same in all files."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self._stand_ins: set[str] = set()
        self._spaced: set[str] = set()
        """Whole paths that a text does not show the end of."""
        self._known: list[re.Pattern[str]] = []
        """The names that are replaced wherever they stand as a word, as far as they were known at the last text."""
        self._known_of = 0

    def name(self, name: str, kind: str) -> str:
        """The stand-in of a name; a file's keeps its extension."""
        if name in self._stand_ins:
            return name
        if name not in self.names:
            ending = os.path.splitext(name)[1] if kind == "path" else ""
            number = sum(other.startswith(f"{kind}-") for other in self.names.values()) + 1
            self.names[name] = f"{kind}-{number}{ending if len(ending) < 8 else ''}"
            self._stand_ins.add(self.names[name])
        return self.names[name]

    def path(self, path: str) -> str:
        """The same path with other names; those of the system and of installed packages are kept."""
        parts = path.split("/")
        if parts[0] in _OF_LIBRARIES or (not parts[0] and len(parts) > 1 and parts[1] in _OF_THE_SYSTEM):
            return path
        out: list[str] = []
        for i, part in enumerate(parts):
            if part in ("site-packages", "dist-packages"):
                return "/".join([*out, *parts[i:]])
            out.append(part if not part or part in (".", "..") or _KEPT.fullmatch(part) else self.name(part, "path"))
        if " " in path:
            self._spaced.add(path)
        return "/".join(out)

    def text(self, text: str) -> str:
        """Paths first; then the known names, wherever they stand as a word: of folders there only those of paths, for
        `state` or `data` may be a folder's name."""
        for path in sorted(self._spaced, key=len, reverse=True):
            text = text.replace(path, self.path(path))
        for form in (_PATH, _RELATIVE):
            text = form.sub(lambda found: self.path(found.group()), text)
        text = _RUN.sub(lambda found: self.name(found.group(), "run"), text)
        for known in self._words():
            text = known.sub(lambda found: self.names[found.group()], text)
        return text

    def _words(self) -> list[re.Pattern[str]]:
        if self._known_of != len(self.names):
            self._known_of = len(self.names)
            of_people = [name for name, new in self.names.items() if len(name) >= SHORTEST and new.startswith(_PEOPLE)]
            others = [name for name, new in self.names.items() if _stands_out(name, new) and name not in of_people]
            self._known = [
                re.compile(
                    rf"(?<!{edge})(?:{'|'.join(map(re.escape, sorted(names, key=len, reverse=True)))})(?!{edge})"
                )
                for edge, names in ((r"[\w-]", others), (r"[^\W_]", of_people))
                if names
            ]
        return self._known

    def value(self, value: Any, key: str = "") -> Any:
        """The same value with its texts replaced, in keys, too."""
        if isinstance(value, str):
            return self._field(value, key)
        if isinstance(value, list):
            if key == "argv":
                return [self.argument(word, i) for i, word in enumerate(value)]
            return [self.value(part) for part in value]
        if isinstance(value, dict):
            return {self.text(name) if "/" in name else name: self.value(part, name) for name, part in value.items()}
        return value

    def _field(self, value: str, key: str) -> str:
        if key == "source":
            return self.source(value)
        if key in _KINDS and re.search(r"[^\W\d_]", value):
            return self.name(value, _KINDS[key])
        if key in _OF_CODE:
            value = _QUOTED.sub(lambda found: f"{found[1]}{self.path(found[2])}{found[1]}", value)
        elif _WORD.fullmatch(value):
            return value
        elif value.startswith("/") and key in _PATHS:
            return self.path(value)
        return self.text(value)

    def source(self, value: str) -> str:
        """Of a mount: the server of `me@server:/export` has a name, too."""
        server, colon, path = value.partition(":")
        return f"{self.name(server, 'server')}:{self.text(path)}" if colon else self.text(value)

    def argument(self, word: Any, place: int) -> Any:
        if not isinstance(word, str) or word in ("-m", "-c"):
            return word
        return self.path(word) if place == 0 else self.name(word, "argument")


def _stands_out(name: str, new: str) -> bool:
    """Whether a name in a text is surely that name: `data` may be a folder's, and `train` or `0.1` an argument."""
    if len(name) < SHORTEST:
        return False
    if new.startswith("path-"):
        return "." in name[1:]
    return not new.startswith("argument-") or bool(re.search(r"[^\W\d_]", name) and not name.isalpha())
