"""Running two commands in turn and keeping what they cost."""

import os
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

_KILOBYTE = 1024


@dataclass(frozen=True)
class Sample:
    """One run: wall-clock seconds, peak resident bytes of the largest process, bytes written,
    seconds of CPU.
    """

    seconds: float
    peak_bytes: int = 0
    result_bytes: int | None = None
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class Summary:
    """The median of several runs; the memory is the largest that was seen."""

    seconds: float
    runs: tuple[float, ...]
    peak_bytes: int
    result_bytes: int | None


Side = Callable[[], Sample]


def command(
    arguments: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stdin: Path | None = None,
    result: Path | None = None,
    differs: bool = False,
) -> Sample:
    """Run a command to its end and measure it; a failure stops the benchmark.

    `result` is a file or folder whose size belongs to the result.  `differs`: that it ends with
    1 says that two things differ, and is no failure.
    """
    with TemporaryFile() as output, (stdin or Path(os.devnull)).open("rb") as given:
        began = time.perf_counter()
        process = subprocess.Popen(
            arguments, env=env, cwd=cwd, stdin=given, stdout=output, stderr=output
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.send_signal(signal.SIGTERM)
            raise
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode > differs or process.returncode < 0:
            output.seek(0)
            shown = " ".join(map(str, arguments))
            raise RuntimeError(f"{shown} failed:\n{output.read().decode(errors='replace')}")
    return Sample(
        seconds, usage.ru_maxrss * _KILOBYTE, _size(result), usage.ru_utime + usage.ru_stime
    )


def alternate(ours: Side, theirs: Side, runs: int) -> tuple[Summary, Summary]:
    """Measure both in turn, each being first every other time, so that neither is favoured."""
    samples: tuple[list[Sample], list[Sample]] = ([], [])
    for number in range(runs):
        sides = [(0, ours), (1, theirs)]
        for index, side in sides if number % 2 == 0 else reversed(sides):
            samples[index].append(side())
    return _summary(samples[0]), _summary(samples[1])


def _summary(samples: Sequence[Sample]) -> Summary:
    return Summary(
        seconds=statistics.median(sample.seconds for sample in samples),
        runs=tuple(round(sample.seconds, 4) for sample in samples),
        peak_bytes=max(sample.peak_bytes for sample in samples),
        result_bytes=samples[-1].result_bytes,
    )


def _size(path: Path | None) -> int | None:
    if path is None:
        return None
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
