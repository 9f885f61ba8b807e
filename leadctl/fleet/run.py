"""Doing one thing with each target of a fleet: several at a time, each for itself."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from leadctl.errors import LeadctlError, OperationFailed
from leadctl.fleet.targets import FleetTarget
from leadctl.journal.runs import of_fleet
from leadctl.postgres.sessions import Sessions, reused
from leadctl.postgres.translate import translate
from leadctl.progress import Progress
from leadctl.text import plain

T = TypeVar("T")
_JOBS = 4
"""Targets at a time where nothing else is said."""
_SESSIONS_A_JOB = 3
"""Idle sessions that are kept: what most verbs have open at a time."""


class TargetState(Enum):
    """How a target stands after a run."""

    DONE = "done"
    NO = "no"
    """The answer was "no": pending, drift, a check that is not ok."""
    FAILED = "failed"
    NOT_RUN = "not run"
    """The run ended before it: see the report's `ended`."""


@dataclass(frozen=True)
class FleetBounds:
    """How much of a fleet is done, and how much at a time."""

    jobs: int = _JOBS
    canary: int = 0
    """So many targets come first, one after another; the others only if these went well."""
    max_failures: int | None = None
    """After so many no other target is begun."""
    requested: "threading.Event" = field(default_factory=threading.Event, repr=False)
    """Set by whoever wants it to end after the targets in flight."""


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came of a target: its result, and the exit code that the verb alone would have."""

    result: T
    code: int = 0


@dataclass(frozen=True)
class TargetReport(Generic[T]):
    """What came of one target."""

    target: str
    env: str | None
    database: str | None
    schema: str | None
    state: TargetState
    seconds: float
    error: str | None
    """The error's code, as `-o json` prints it for one target."""
    message: str | None
    hint: str | None
    result: T | None
    code: int = field(metadata={"json": False})
    """What the verb alone would exit with; -1 where it failed: `failure` says with what."""
    failure: LeadctlError | None = field(default=None, repr=False, metadata={"json": False})


@dataclass(frozen=True)
class FleetReport(Generic[T]):
    """What came of a fleet, target by target, in the fleet's order."""

    fleet: str
    verb: str
    run: str
    """The run's id: the journal of each target has it."""
    total: int
    counts: Mapping[str, int]
    """How many targets are in each state."""
    ended: str | None
    """Why not all were run: "canary", "max failures" or "interrupted"."""
    seconds: float
    targets: tuple[TargetReport[T], ...]

    @property
    def bad(self) -> tuple[TargetReport[T], ...]:
        """The targets that failed, then those whose answer is "no"."""
        order = (TargetState.FAILED, TargetState.NO)
        found = (each for each in self.targets if each.state in order)
        return tuple(sorted(found, key=lambda each: order.index(each.state)))

    @property
    def ok(self) -> bool:
        """Whether every target was run, and well."""
        return self.ended is None and not self.bad


@dataclass
class FleetRun(Generic[T]):
    """One thing that is done with each target, in threads.

    What a target fails with is in the report, and nothing is raised for it.  Connections of the
    same database are used again.
    """

    fleet: str
    verb: str
    run: str
    targets: Sequence[FleetTarget]
    do: Callable[[FleetTarget], Outcome[T]]
    bounds: FleetBounds
    progress: Progress
    _reports: dict[int, TargetReport[T]] = field(default_factory=dict, init=False)
    _ended: str | None = field(default=None, init=False)

    def go(self) -> FleetReport[T]:
        """Do it, and report what came of each."""
        began = time.perf_counter()
        sessions = Sessions(self.bounds.jobs * _SESSIONS_A_JOB)
        token = of_fleet.set({"name": self.fleet, "run": self.run})
        try:
            with reused(sessions):
                self._canary_first()
        finally:
            of_fleet.reset(token)
            sessions.close()
        skipped = TargetState.NOT_RUN
        reports = [
            self._reports.get(number) or _report(target, None, state=skipped)
            for number, target in enumerate(self.targets)
        ]
        if all(each.state is not skipped for each in reports):
            self._ended = None  # the last one in flight was the last one of all
        counts = Counter(each.state.value for each in reports)
        return FleetReport(
            self.fleet,
            self.verb,
            self.run,
            len(reports),
            {state.value: counts[state.value] for state in TargetState},
            self._ended,
            round(time.perf_counter() - began, 3),
            tuple(reports),
        )

    def _canary_first(self) -> None:
        count = min(self.bounds.canary, len(self.targets))
        self.progress(0, len(self.targets), "targets")
        self._several(range(count), 1)
        done = (each.state is TargetState.DONE for each in self._reports.values())
        if self._ended is None and not all(done):
            self._ended = "canary"
        if self._ended is None:
            self._several(range(count, len(self.targets)), self.bounds.jobs)

    def _several(self, numbers: Sequence[int], jobs: int) -> None:
        """Run targets, so many at a time; none is begun after what ends the run."""
        waiting, running = iter(numbers), dict[Future[TargetReport[T]], int]()
        with ThreadPoolExecutor(max(1, jobs), thread_name_prefix="leadctl-fleet") as pool:
            while True:
                while len(running) < jobs and self._may_go_on():
                    number = next(waiting, None)
                    if number is None:
                        break
                    work = copy_context().run
                    running[pool.submit(work, self._one, self.targets[number])] = number
                if not running:
                    return
                for future in wait(running, timeout=1, return_when=FIRST_COMPLETED).done:
                    self._reports[running.pop(future)] = future.result()
                    self.progress(len(self._reports), len(self.targets), "targets")

    def _may_go_on(self) -> bool:
        most = self.bounds.max_failures
        states = [each.state for each in self._reports.values()] if most else []
        if self.bounds.requested.is_set():
            self._ended = "interrupted"
        elif most and states.count(TargetState.FAILED) >= most:
            self._ended = "max failures"
        return self._ended is None

    def _one(self, target: FleetTarget) -> TargetReport[T]:
        began = time.perf_counter()
        try:
            if target.error is not None:
                raise target.error
            outcome = self.do(target)
        except Exception as error:  # noqa: BLE001 - what one target fails with holds up no other
            return _report(target, began, failure=_known(error))
        return _report(target, began, outcome)


def _report(
    target: FleetTarget,
    began: float | None,
    outcome: Outcome[T] | None = None,
    *,
    failure: LeadctlError | None = None,
    state: TargetState | None = None,
) -> TargetReport[T]:
    code = -1 if failure else outcome.code if outcome else 0
    return TargetReport(
        target=target.name,
        env=target.env,
        database=target.database,
        schema=target.schema,
        state=state or _state(code),
        seconds=round(time.perf_counter() - began, 3) if began is not None else 0.0,
        error=failure.code if failure else None,
        message=plain(failure.message) if failure else None,
        hint=plain(failure.hint) if failure else None,
        result=outcome.result if outcome else None,
        code=code,
        failure=failure,
    )


def _state(code: int) -> TargetState:
    if code == 0:
        return TargetState.DONE
    return TargetState.FAILED if code < 0 else TargetState.NO


def _known(error: Exception) -> LeadctlError:
    if isinstance(error, LeadctlError):
        return error
    translated = translate(error)
    if translated is not None:
        return translated
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return OperationFailed(f"{name}{error.strerror or error}")
    return OperationFailed(
        f"leadctl failed unexpectedly: {type(error).__name__}: {error}",
        hint="This is a fault in leadctl; please report it with this message.",
    )
