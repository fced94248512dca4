"""What the command `gradex group` says of a run."""

from collections.abc import Iterator
from typing import Any

from gradex.affinity import Agreement
from gradex.affinity.partition import listed


def run_text(report: dict[str, Any], agreement: Agreement | None) -> str:
    """Sum up in lines for a shell what a grouping reports, with "returns", the mean return by policy.

    The agreement is that with the planted groups, if there are any.
    """
    names, k = report["tasks"], report["k"]
    lines = [f"{len(names)} {report['suite']} tasks in {k} group{'s' if k > 1 else ''}"]
    for number, group in enumerate(report["groups"]):
        members = ", ".join(names[task] for task in group)
        if "mean_weights" in report:
            mean = zip(report["objectives"], report["mean_weights"][number], strict=True)
            weights = ", ".join(f"{name} {weight:.2f}" for name, weight in mean)
            members = f"{len(group)} preferences, on average {weights}"
        lines.append(f"  group {number}: {members}")
    if report["verdict"] is not None:
        lines.append(report["verdict"])
    if (first := report.get("first_groups", report["groups"])) != report["groups"]:
        lines.append(
            f"all tasks together showed {len(first)} groups; by themselves some of them fall into more"
        )
    lines += list(_estimate(report))
    lines.append(
        f"clustering: objective {report['objective']:.4g}, no partition above {report['upper_bound']:.4g} "
        f"(gap {report['gap']:.2%})"
    )
    if agreement is not None:
        lines.append(f"agreement with the planted groups: NMI {agreement.nmi:.2f}, AMI {agreement.ami:.2f}")
    lines += list(_unlearned(report))
    lines.append(f"mean return over the tasks: meta-policy {report['returns']['meta']:.4g}")
    seconds = (f"{stage} {each:.1f}" for stage, each in report["seconds"].items())
    return "\n".join([*lines, "seconds: " + ", ".join(seconds)])


def _estimate(report: dict[str, Any]) -> Iterator[str]:
    """Say what the estimate is worth."""
    if "covered" in report:
        if (covered := report["covered"]) is not None:
            yield f"covered, to first order: {covered:.0%} of what one policy for each preference gains"
        return
    yield (
        f"first-order error at 1 % distance: {report['first_order_error']:.1e} of the output, "
        f"{report['first_order_error_of_change']:.1e} of the change"
    )
    coverage = report["coverage"]
    pairs = f"every pair in {coverage['fewest']} to {coverage['most']} of them"
    yield f"coverage: {coverage['subsets']} subsets, {pairs}"


def _unlearned(report: dict[str, Any]) -> Iterator[str]:
    """Warn of tasks in which the meta-policy has learned little."""
    shares = report.get("explained_variance", {}).items()
    unknown = [name for name, share in shares if share is not None and share < 0]
    if unknown:
        yield (
            f"the critic explains nothing of how returns vary in {listed(unknown)}: the meta-policy has "
            "learned little there, or its returns hardly vary any more"
        )
