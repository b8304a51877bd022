"""What the user sees of files, models and this machine: tables."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from vidx4.cli.terminal import FAILED, Terminal

if TYPE_CHECKING:
    from vidx4.diffusion.models.registry import KnownModel
    from vidx4.jobs.doctor import Finding
    from vidx4.media.checks import Check
    from vidx4.video import Source


def show_source(terminal: Terminal, source: "Source") -> None:
    """Show what a file holds."""
    facts = source.facts()
    if terminal.json:
        terminal.print_json(facts)
        return
    streams = facts.pop("streams")
    terminal.table(["", ""], [[key.replace("_", " "), str(value)] for key, value in facts.items()])
    terminal.table(list(streams[0]), [[str(value) for value in stream.values()] for stream in streams])


def show_checks(terminal: Terminal, checks: "Sequence[Check]") -> None:
    """Show what an enlarged copy kept; fail if it lost anything."""
    lost = [check for check in checks if not check.is_kept]
    for check in checks:
        terminal.event("check", **asdict(check))
    terminal.event("done", num_checks=len(checks), num_lost=len(lost))
    if not terminal.quiet:
        rows = [["ok" if c.is_kept else "LOST", c.subject, c.expected, c.found] for c in checks]
        terminal.table(["", "what", "expected", "found"], rows)
    if lost:
        subjects = ", ".join(dict.fromkeys(check.subject for check in lost))
        terminal.error(f"{len(lost)} of {len(checks)} checks failed: {subjects}.")
        raise typer.Exit(FAILED)
    terminal.tell(f"All {len(checks)} checks passed.")


def show_models(terminal: Terminal, models: "Sequence[KnownModel]") -> None:
    """Show the known models."""
    if terminal.json:
        terminal.print_json([asdict(model) for model in models])
    rows = [
        [m.name, m.description, f"{m.size / 1e6:.1f} MB" if m.size else "", str(m.folder or m.advice)]
        for m in models
    ]
    terminal.table(["model", "what", "size", "where"], rows)


def show_findings(terminal: Terminal, findings: "Sequence[Finding]") -> None:
    """Show what is fine on this machine, and what is not."""
    if terminal.json:
        terminal.print_json([asdict(finding) for finding in findings])
    rows = [
        ["ok" if f.is_fine else "--", f.subject, f.message, "" if f.is_fine else f.advice] for f in findings
    ]
    terminal.table(["", "", "", "what to do"], rows)
