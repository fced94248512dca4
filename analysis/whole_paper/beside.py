"""The part "The paper beside ours" of figures/README.md: computed from the tables of rendered studies."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from analysis import nmi
from analysis.whole_paper import findings
from analysis.whole_paper.claims import CLAIMS, Claim
from analysis.whole_paper.findings import MT10, Found
from analysis.whole_paper.renderings import Rendering
from gradex.store import written_whole

#: What is between these lines of README.md is written anew; whatever else is there stays.
BEGIN = "<!-- from here on `python -m analysis all` writes: what is changed by hand will be lost -->"
END = "<!-- here ends what `python -m analysis all` writes -->"
_NONE = "not rendered"


def write(folder: Path) -> Path:
    """Write the part into README.md of a folder of rendered studies; the rest of that file stays.

    Raises
    ------
    ValueError
        If the file cannot be written, or has one of the two lines that enclose the part without the other.
    """
    path = folder / "README.md"
    text = within(path.read_text() if path.exists() else f"{BEGIN}\n{END}\n", folder)
    with written_whole(path) as temporary:
        temporary.write_text(text)
    return path


def check(folder: Path) -> None:
    """Refuse a folder in which the part could not be written, before anything is computed.

    Raises
    ------
    ValueError
        See `write`.
    """
    path = folder / "README.md"
    _parted(path.read_text() if path.exists() else "", folder)


def stands_in(folder: Path) -> bool:
    """Tell whether README.md of a folder has the part."""
    path = folder / "README.md"
    return path.exists() and BEGIN in path.read_text()


def within(text: str, folder: Path) -> str:
    """Give a text with the part in its place, at its end if it has none."""
    before, after = _parted(text, folder)
    return f"{before}{BEGIN}\n{_Part(folder, before + after).text()}\n{END}{after}"


def _parted(text: str, folder: Path) -> tuple[str, str]:
    """Give what stands before the part and after it."""
    if (BEGIN in text) != (END in text):
        raise ValueError(
            f"README.md in {str(folder)!r} has only one of the lines {BEGIN!r} and {END!r}: add the other"
        )
    if BEGIN not in text:
        text = f"{text.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    return before, rest.partition(END)[2]


class _Part:
    """What is written, from the tables of one folder."""

    def __init__(self, folder: Path, around: str) -> None:
        found = {name: Rendering.read(folder, name) for name in {each.study for each in CLAIMS}}
        self.rendered = {name: each for name, each in found.items() if each is not None}
        # A study is linked to its section, where there is one.
        titles = re.findall(r"^## ((\w+): .*)$", around, flags=re.MULTILINE)
        self.anchors = {
            name: re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title, name in titles
        }

    def text(self) -> str:
        """Put everything together."""
        pieces = [
            "## The paper beside ours",
            self._claims(),
            "Verdicts are computed from these numbers; in brackets are 95 % intervals over seeds. A gain is "
            "**reproduced** if it is above 0 beyond its interval and at least half of the paper's, and "
            "**partly** so if it is either; an error if it is at most twice the paper's, partly up to five "
            "times. What is asked of the others is in `analysis/whole_paper/claims.py`. Settings differ (the "
            "paper does not give its subset counts, budgets and seeds), so that only comparisons inside one "
            "column count.",
            self._computed(),
            self._first_order(),
            self._agreement(),
            self._sharing(),
            self._by_number(),
        ]
        return "\n\n".join(pieces)

    # ------------------------------------------------------------------ ours beside the paper's
    def _claims(self) -> str:
        rows, place = [], None
        for claim in CLAIMS:
            where = claim.where if claim.where != place else ""
            place = claim.where
            paper = claim.finding or claim.shown.format(claim.paper)
            rows.append([where, claim.what, paper, *self._ours(claim)])
        return _table(["in the paper", "what", "the paper", "ours", "verdict"], rows)

    def _ours(self, claim: Claim) -> tuple[str, str]:
        """Give ours in words, and the verdict."""
        rendering = self.rendered.get(claim.study)
        found = None if rendering is None else claim.ours(rendering.table)
        if rendering is None or found is None:
            return _NONE, ""
        ours, verdict = _shown(found, claim.shown), claim.verdict(found)
        if found.seeds != rendering.seeds:
            ours += f", {_seeds(found)}"
        if rendering.scale == "smoke" or verdict is None:
            return ours, f"not judged: {'smoke scale' if rendering.scale == 'smoke' else 'one seed'}"
        reason = claim.reasons.get(verdict)
        return ours, f"**{verdict}**" + (f": {reason}" if reason else "")

    def _computed(self) -> str:
        """Tell scale, seeds, minutes, machine and command, and what the paper scale would cost."""
        studies = list(dict.fromkeys(claim.study for claim in CLAIMS))
        rows = []
        for name in studies:
            rendering = self.rendered.get(name)
            if rendering is None:
                rows.append([self._linked(name), _NONE, "", "", ""])
                continue
            hours = rendering.hours_at_paper_scale()
            more = "more than " if rendering.rest_is_unknown else ""
            known = f"{more}{hours / 2:{'.0f' if hours >= 20 else '.1f'}}" if hours else "not measured"
            amount = f"{rendering.scale}, {rendering.seeds}"
            minutes = f"{more}{rendering.minutes:.0f}"
            rows.append([self._linked(name), amount, minutes, known, "not measured"])
        machines = sorted({self.rendered[name].machine for name in studies if name in self.rendered})
        told = (
            f"Computed on {'; '.join(machines) or 'no machine yet'}, by `python -m analysis all "
            "--scale SCALE`, or one by one by `python -m analysis STUDY --scale SCALE --seeds N`. Minutes "
            "are those of all seeds together, beside other work. Hours at the paper scale follow from the "
            "environment steps that it takes and the steps per second of this rendering, with a seed on each "
            "core; that networks are wider and evaluations longer there is not in them. Where earlier "
            "trainings were reused, the true time is longer."
        )
        header = ["study", "scale, seeds", "minutes", "paper scale: hours on 2 cores", "on one GPU"]
        return f"{told}\n\n{_table(header, rows)}"

    def _linked(self, name: str) -> str:
        return f"[`{name}`](#{self.anchors[name]})" if name in self.anchors else f"`{name}`"

    # ------------------------------------------------------------------ table by table
    def _first_order(self) -> str:
        told = (
            "**Table 1**, relative residual sum of squares by distance ‖θ − θ\\*‖ / ‖θ\\*‖. "
            "Ours is along PPO's steps, relative to the change:"
        )
        rows, output = [], []
        for suite, paper in findings.RESIDUALS.items():
            rows.append([f"{suite}, paper", *(f"{number:.2f} %" for number in paper)])
            ours = [self._read("first_order", findings.residual, suite, each) for each in findings.DISTANCES]
            rows.append([f"{suite}, ours", *(_shown(each, "{:.2g} %", interval=False) for each in ours)])
            output.append(
                self._read(
                    "first_order", findings.residual, suite, findings.DISTANCES[-1], "relative_to_output"
                )
            )
        largest = max((each.value for each in output if each is not None), default=None)
        if largest is not None:
            rows.append(["ours, relative to the output, at most", "", "", f"{largest:.2g} %"])
        return f"{told}\n\n{_table(['distance', *(f'{each:g} %' for each in findings.DISTANCES)], rows)}"

    def _agreement(self) -> str:
        told = (
            "**Table 2**, NMI of estimated with real groups, and how many times fewer floating-point "
            "operations the estimate takes. The paper has the same NMI with two, four and eight layers, and "
            f"{', '.join(f'{saving:.0f}' for saving in findings.SAVING.values())} times fewer operations:"
        )
        columns = [
            (MT10, MT10),
            ("LunarLander", "LunarLander"),
            ("reversed LunarLander", "the same, reversed"),
            (nmi.ALONG.format("reversed LunarLander"), "reversed, along the path"),
        ]
        rows = []
        for layers, saving in findings.SAVING.items():
            for what, paper, column, shown in (
                (
                    "NMI",
                    f"{findings.AGREEMENT[MT10]:.2f}, {findings.AGREEMENT['LunarLander']:.2f}",
                    "nmi",
                    "{:.2f}",
                ),
                ("fewer operations", f"{saving:.0f}", "saving", "{:.2g}"),
            ):
                ours = [
                    self._read(findings.agreement_study(suite), findings.agreement, suite, column, layers)
                    for suite, _ in columns
                ]
                if layers == 4 or any(each is not None for each in ours):
                    cells = (
                        _NONE if each is None else f"{shown.format(each.value)}, {_seeds(each)}"
                        for each in ours
                    )
                    rows.append([f"{what}, {layers} layers", paper, *cells])
        header = ["", "paper: MT10, LunarLander", *(f"ours: {title}" for _, title in columns)]
        return f"{told}\n\n{_table(header, rows)}"

    def _sharing(self) -> str:
        told = (
            "**Table 3**, the paper's number / ours: success on MT10 in percent, elsewhere the mean return "
            "on unseen tasks after adaptation. Three groups; the best of a column in bold:"
        )
        rows = {method: [method] for method in findings.METHODS}
        for column, paper in findings.SHARING.items():
            numbers = {method: self._of_method(column, method) for method in findings.METHODS}
            ours = [number for number in numbers.values() if number is not None]
            highest = [max(paper.values()), max(ours, default=None)]
            for method, number in numbers.items():
                cells = [
                    _best(each, top) for each, top in zip((paper.get(method), number), highest, strict=True)
                ]
                rows[method].append(
                    " / ".join(cells if findings.study_of(column) in self.rendered else cells[:1])
                )
        there = {column: findings.study_of(column) in self.rendered for column in findings.SHARING}
        header = ["method", *(column if there[column] else f"{column}, ours {_NONE}" for column in there)]
        return f"{told}\n\n{_table(header, rows.values())}"

    def _of_method(self, column: str, method: str, k: int = 3) -> float | None:
        rendering = self.rendered.get(findings.study_of(column))
        by_seed = None if rendering is None else findings.sharing(rendering.table, column, method, k)
        return None if by_seed is None or by_seed.empty else float(by_seed.mean())

    def _by_number(self) -> str:
        told = (
            "**By the number of groups**, success on MT10 in percent; "
            "ours of one group is soft modularization for all:"
        )
        rows = [["paper", *(f"{number:.1f}" for number in findings.BY_NUMBER.values())]]
        for method in (findings.RANDOM, findings.SIMILAR, findings.OURS):
            numbers = [
                self._of_method(MT10, findings.SOFT if k == 1 else method, k) for k in findings.BY_NUMBER
            ]
            rows.append([f"ours, {method}", *(_NONE if each is None else f"{each:.0f}" for each in numbers)])
        return f"{told}\n\n{_table(['groups', *map(str, findings.BY_NUMBER)], rows)}"

    def _read(self, name: str, read: Callable[..., Found | None], *arguments: object) -> Found | None:
        rendering = self.rendered.get(name)
        return None if rendering is None else read(rendering.table, *arguments)


def _shown(found: Found | None, form: str, interval: bool = True) -> str:
    """Give a number, and its interval unless it is a point."""
    if found is None or np.isnan(found.value):
        return _NONE if found is None else "–"
    if found.suites is not None:
        return f"on {form.format(found.value)} of {found.suites} suites"
    number = _minus(form.format(found.value))
    if not interval or found.low == found.high:
        return number
    bare = re.search(r"\{.*?\}", form)
    assert bare is not None  # for the type checker
    low, high = (_minus(bare.group().format(end)) for end in (found.low, found.high))
    return number if low == high else f"{number} ({low} to {high})"


def _seeds(found: Found) -> str:
    return f"{found.seeds} seed{'s' if found.seeds != 1 else ''}"


def _best(number: float | None, highest: float | None) -> str:
    text = "–" if number is None else _minus(f"{number:.1f}")
    return f"**{text}**" if number is not None and number == highest else text


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        f"| {' | '.join(line)} |".replace("|  |", "| |").replace("|  |", "| |") for line in lines
    )
