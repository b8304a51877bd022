"""Precision and recall of detectors of cuts on films that are joined from real shots at known places.

A cut counts as found if a detection is at most one frame away. Within a dissolve, fade or wipe of several
frames, one detection is neither right nor wrong, and none is needed: motion is not trusted there, so that
state fades on its own (see `transitions.py`); a second one is false. A column of its own counts those found.
A jump within one scene counts neither way, either, except in the columns named after jumps.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from scripts.bench.tables import machine
from scripts.evaluate.cut_detectors import DETECTORS
from scripts.evaluate.joined import Film, Span, make_films
from scripts.evaluate.shots import load_development, load_report

TOLERANCE = 1
"""Frames between a cut and its detection."""
JUMP = "again"
"""Cuts of this kind show the same scene, a little nearer or later: found or not, they do no harm (see
`transitions.py`), and so count neither way."""
SEEDS = {"development": 1, "report": 12}


@dataclass
class Score:
    """What a detector found."""

    found: Counter[str] = field(default_factory=Counter)
    """By kind of cut."""
    cuts: Counter[str] = field(default_factory=Counter)
    false: Counter[str] = field(default_factory=Counter)
    """By what happens there, or the style of the film."""
    exact: int = 0
    gradual: int = 0
    """Gradual transitions with a detection."""
    num_gradual: int = 0
    num_frames: int = 0
    seconds: float = 0.0

    @property
    def recall(self) -> float:
        """Share of the cuts that are found, without jumps."""
        return _without_jumps(self.found) / max(1, _without_jumps(self.cuts))

    @property
    def recall_with_jumps(self) -> float:
        """Share of the cuts that are found, jumps among them."""
        return self.found.total() / max(1, self.cuts.total())

    @property
    def precision(self) -> float:
        """Share of the detections that are right, of those that count."""
        return _without_jumps(self.found) / max(1, _without_jumps(self.found) + self.false.total())

    def __add__(self, other: "Score") -> "Score":
        return Score(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def _without_jumps(counts: Counter[str]) -> int:
    return sum(count for kind, count in counts.items() if not kind.startswith(JUMP))


def run(arguments: argparse.Namespace) -> None:
    """Score every detector on one half of the films; write `cuts.json` and `cuts.md`."""
    if arguments.half == "report":
        material = load_report(arguments.clips, arguments.photos, arguments.kodak)
    else:
        material = load_development(arguments.clips, arguments.photos)
    detectors = {name: DETECTORS[name]() for name in arguments.detectors}
    scores = {name: {False: Score(), True: Score()} for name in detectors}
    for film in make_films(material, arguments.films, SEEDS[arguments.half]):
        for name, detect in detectors.items():
            begin = time.process_time()
            found = detect(film.frames)
            score = score_film(film, found)
            score.seconds = time.process_time() - begin
            scores[name][film.is_animated] += score
        print(film.name, film.style, flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = {"half": arguments.half, **machine(), "scores": plain(scores)}
    (arguments.out / "cuts.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    tables = markdown(scores)
    (arguments.out / "cuts.md").write_text(tables, encoding="utf-8")
    print(tables, end="")


def score_film(film: Film, found: Iterable[int]) -> Score:
    """Match detections with what is known of a film."""
    score = Score(num_frames=len(film.frames), num_gradual=len(film.gradual))
    score.cuts.update(cut.kind for cut in film.cuts)
    left = sorted(each for each in set(found) if each > 0)
    for cut in film.cuts:
        near = [each for each in left if cut.start - TOLERANCE <= each < cut.stop + TOLERANCE]
        if near:
            best = min(near, key=lambda each: abs(each - cut.start))
            left.remove(best)
            score.found[cut.kind] += 1
            score.exact += cut.start <= best < cut.stop
    for span in film.gradual:
        inside = [each for each in left if span.start <= each <= span.stop]
        score.gradual += bool(inside)
        left = [each for each in left if each not in inside[:1]]
    left = [each for each in left if not _is_within(each, film.ignored)]
    score.false.update(_cause(each, film) for each in left)
    return score


def _is_within(frame: int, spans: Sequence[Span]) -> bool:
    return any(span.start <= frame <= span.stop for span in spans)


def _cause(frame: int, film: Film) -> str:
    for span in (*film.events, *film.gradual):
        if span.start <= frame <= span.stop:
            return span.kind
    return film.style


def plain(scores: dict[str, dict[bool, Score]]) -> dict[str, dict[str, object]]:
    """Return all scores as what JSON can hold."""
    return {
        name: {("animated" if key else "live"): dict(vars(score)) for key, score in halves.items()}
        for name, halves in scores.items()
    }


def markdown(scores: dict[str, dict[bool, Score]]) -> str:
    """Return two tables: all detectors, and this program's or the first one's by kind."""
    lines = [
        "| detector | live: precision | recall | with jumps | animated: precision | recall | with jumps "
        "| first frame exact | gradual | ms of CPU a frame |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, halves in scores.items():
        total = halves[False] + halves[True]
        cells = [
            f"{value:.3f}"
            for half in halves.values()
            for value in (half.precision, half.recall, half.recall_with_jumps)
        ]
        exact = total.exact / max(1, total.found.total())
        cells += [f"{exact:.2f}", f"{total.gradual} of {total.num_gradual}"]
        lines.append(f"| {name} | {' | '.join(cells)} | {total.seconds / total.num_frames * 1000:.1f} |")
    lines += ["", "| kind | " + " | ".join(scores) + " |", "|---" + "|--:" * len(scores) + "|"]
    totals = {name: halves[False] + halves[True] for name, halves in scores.items()}
    first = next(iter(totals.values()))
    for kind in sorted(first.cuts):
        shares = (f"{score.found[kind]} of {score.cuts[kind]}" for score in totals.values())
        lines.append(f"| found: {kind} | {' | '.join(shares)} |")
    for cause in sorted({each for score in totals.values() for each in score.false}):
        counts = (str(score.false[cause]) for score in totals.values())
        lines.append(f"| false: {cause} | {' | '.join(counts)} |")
    return "\n".join(lines) + "\n"
