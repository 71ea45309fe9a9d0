"""Run commands side by side and say how long each took: `phases.py FOLDER NAME=COMMAND [NAME=COMMAND ...]`.

Of several, each line of output begins with the name. FOLDER/phases.tsv keeps name and seconds for the
summary. Exit code 1 when a command failed; the others are run to their end all the same.
"""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def run(name: str, command: str, prefix: str, record: Path) -> int:
    """Run one phase; return its exit code."""
    began = time.monotonic()
    with subprocess.Popen(
        command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout
        for line in process.stdout:
            print(prefix + line.decode(errors="replace"), end="", flush=True)
    seconds = time.monotonic() - began
    with record.open("a") as lines:
        lines.write(f"{name}\t{seconds:.0f}\n")
    how = "done" if process.returncode == 0 else f"FAILED ({process.returncode})"
    print(f"== {name}: {how} in {seconds:.0f} s", flush=True)
    return process.returncode


def main(folder: Path, phases: list[str]) -> int:
    """Run the phases and wait for all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    named = [phase.partition("=")[::2] for phase in phases]
    width = max(len(name) for name, _ in named)

    def one(name: str, command: str) -> int:
        return run(name, command, f"{name:<{width}} | " if len(named) > 1 else "", folder / "phases.tsv")

    with ThreadPoolExecutor(len(named)) as pool:
        ended = [pool.submit(one, name, command) for name, command in named]
        return int(any(end.result() for end in ended))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
