"""A plan as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.cli.console import Console, style

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.core.plan import Plan


def plan_lines(plan: Plan, console: Console) -> Iterator[str]:
    """What will be different, and the steps in their order with how each is taken back."""
    arrow = console.glyphs["arrow"]
    yield f"{style('Plan', 'strong')}  {plan.kind} to {style(plan.environment, 'name')} ({plan.engine})"
    before = plan.current.revision.short if plan.current else "nothing"
    after = plan.revision.short
    yield _row("release", f"{after} serves already" if before == after else f"{before} {arrow} {after}")
    for index, change in enumerate(plan.changes):
        yield _row("" if index else "changes", change)
    if plan.does_nothing:
        yield _row("steps", "none: there is nothing to do")
        return
    size = max(len(step.title) for step in plan.steps)
    for index, step in enumerate(plan.steps):
        undo = style(f"undo: {step.undo}", "dim") if step.undo else ""
        yield _row("" if index else "steps", f"{step.id:<8} {step.title:<{size}}  {undo}".rstrip())
    if plan.suites and plan.has("verify"):
        yield _row("suites", ", ".join(plan.suites))


def _row(name: str, text: str) -> str:
    return f"  {style(f'{name:<8}', 'dim')} {text}"
