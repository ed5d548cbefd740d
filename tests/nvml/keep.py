"""Makes a recording of a run on a real GPU: `python -m tests.nvml.keep JOURNAL NAME [FOLDER=WORD …]`.

Writes demo/recordings/NAME.jsonl: nothing is invented; paths of that machine become the words given (longest first),
the run's folder becomes relative, its host loses its name, and floats their meaningless digits.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.nvml.record import FOLDER, LARGEST_BYTES, shortened


def kept(text: str, words: dict[str, str]) -> str:
    """The journal without the machine's names."""
    first = json.loads(text.partition("\n")[0])
    hosts = [e["host"] for line in text.splitlines() if '"host":' in line and (e := json.loads(line)).get("host")]
    told = {**words, f"{first['cwd']}/": "", first["cwd"]: ".", **{f'"{host}"': '"recorded"' for host in hosts}}
    for ours in sorted(told, key=len, reverse=True):
        text = text.replace(ours, told[ours])
    lines = [json.dumps(shortened(json.loads(line)), separators=(",", ":")) for line in text.splitlines()]
    return "\n".join(lines) + "\n"


def main(journal: str, name: str, *words: str) -> None:
    text = kept(Path(journal).read_text(), dict(word.split("=", 1) for word in words))
    if len(text) > LARGEST_BYTES:
        sys.exit(
            f"{name} has {len(text)} bytes, more than {LARGEST_BYTES}: record a shorter run, or a longer --interval"
        )
    (FOLDER / f"{name}.jsonl").write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
