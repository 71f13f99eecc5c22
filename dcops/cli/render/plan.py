"""A plan as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.cli.console import Console, style

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.core.plan import Plan


def plan_lines(plan: Plan, console: Console, *, brief: bool = False) -> Iterator[str]:
    """What will be different, and the steps in their order.

    Args:
        brief: Only the names of the steps, not what each does and how it is taken back.
    """
    to = "to" if plan.kind == "deploy" else "of"
    yield f"{style('Plan', 'strong')}  {plan.kind} {to} {style(plan.environment, 'name')} ({plan.engine})"
    if plan.does_nothing:
        yield _row("changes", f"none: {plan.revision.short} serves already, as the files say")
        return
    arrow = f" {console.glyphs['arrow']} "
    for index, change in enumerate(plan.changes):
        yield _row("" if index else "changes", change.replace(" -> ", arrow))
    if brief:
        yield _row("steps", " ".join(step.id for step in plan.steps))
    for index, step in enumerate(() if brief else plan.steps):
        yield _row("" if index else "steps", f"{step.id:<8} {step.title}")
        if step.undo:
            yield _row("", style(f"{'':<8} undo: {step.undo}", "dim"))
    if plan.suites and plan.has("verify"):
        yield _row("suites", " ".join(plan.suites))


def _row(name: str, text: str) -> str:
    return f"  {style(f'{name:<8}', 'dim')} {text}"
