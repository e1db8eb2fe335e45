"""All checks, in the order in which one thing needs another."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Literal

from napari_medssl import __version__
from napari_medssl.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Diagnosis", "Finding", "State", "diagnose"]

State = Literal["ok", "note", "problem"]
_MARKS: dict[State, str] = {"ok": "ok", "note": "note", "problem": "PROBLEM"}


class Finding(Config):
    """What one check found."""

    topic: str
    """What was looked at, in a word or two."""
    state: State
    """``note`` works, but is worth knowing; ``problem`` keeps something from working."""
    text: str
    """What is so, and why, as a sentence."""
    mend: str = ""
    """A command to type, or what to do; empty where there is nothing to mend."""


class Diagnosis(Config):
    """All findings, to read or to paste into an issue."""

    version: str
    """Of napari-medssl."""
    made: str
    """When, in UTC."""
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing is a problem."""
        return all(finding.state != "problem" for finding in self.findings)

    def text(self) -> str:
        """Put it into lines: the state, the topic, the sentence; below, the command that mends it."""
        width = max(len(finding.topic) for finding in self.findings)
        lines = [f"napari-medssl {self.version}, {self.made}", ""]
        for finding in self.findings:
            lines.append(f"{_MARKS[finding.state]:<8}{finding.topic:<{width + 2}}{finding.text}")
            if finding.mend:
                lines.append(f"{'':<{width + 10}}-> {finding.mend}")
        problems = sum(finding.state == "problem" for finding in self.findings)
        lines += ["", _verdict(problems)]
        return "\n".join(lines)


def diagnose(
    project: Path | None = None, *, progress: Callable[[str], None] | None = None
) -> Diagnosis:
    """Look at everything that napari-medssl needs. Changes nothing, and uses no network.

    torch and OpenGL are tried in child processes: in one process they can crash each other, and a crash of
    theirs is itself a finding.

    Parameters
    ----------
    project : Path, optional
        A project folder to look at, too.
    progress : callable, optional
        Told what is looked at next.
    """
    findings: list[Finding] = []
    for title, check in _checks(project):
        if progress is not None:
            progress(title)
        findings += check()
    made = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Diagnosis(version=__version__, made=made, findings=tuple(findings))


def _checks(project: Path | None) -> Iterator[tuple[str, Callable[[], list[Finding]]]]:
    from napari_medssl.doctor import computing, machine, packages, window

    yield "versions", packages.check
    yield "memory and disk", machine.check
    yield "torch", computing.check
    yield "the window", window.check
    if project is not None:
        from napari_medssl.doctor import projects

        yield "the project", lambda: projects.check(project)


def _verdict(problems: int) -> str:
    if not problems:
        return "Everything that napari-medssl needs works here."
    if problems == 1:
        return "1 problem; the arrow below it says what mends it."
    return f"{problems} problems; the arrows say what mends them."
