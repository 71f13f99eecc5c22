"""``dcops plan`` and ``dcops deploy``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcops.cli.base import command
from dcops.cli.options import (
    deploy_options,
    environment_argument,
    lock_wait_option,
    toggle_texts,
    yes_option,
)
from dcops.errors import PreconditionMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.cli.app import App
    from dcops.cli.render.progress import Progress
    from dcops.core.plan import Plan
    from dcops.operations.deploy import Confirm, DeployReport, DeployRequest
    from dcops.operations.world import World

CHANGES = 8
PLAN_FILE = click.Path(dir_okay=False, path_type=Path)


@command(
    "plan",
    examples=(
        "dcops plan production",
        "dcops plan production -o plan.json && dcops deploy production --plan plan.json",
        "dcops plan dev --exit-code",
    ),
    exits=(6, 7, 8),
)
@environment_argument
@deploy_options
@click.option("-o", "--output", type=PLAN_FILE, metavar="FILE", help="Save the plan for deploy --plan.")
@click.option("--exit-code", is_flag=True, help="Exit with 8 when there are changes.")
def plan_command(app: App, environment: str, output: Path | None, exit_code: bool, **asked: Any) -> int:
    """Show what a deploy would do; only reads.

    Nothing is built, locked or written: the steps are those that dcops deploy runs.
    """
    from dcops.operations.deploy import plan

    made = plan(app.world(), _request(environment, **asked))
    if output is not None:
        _save(output, made)
    show_plan(app, made)
    return CHANGES if exit_code and not made.does_nothing else 0


@command(
    "deploy",
    examples=(
        "dcops deploy",
        "dcops deploy production --reason 'new prompts'",
        "dcops deploy dev --set thinking_budget=8000 --disable use_streaming_bash",
        "dcops deploy production --from dev",
        "dcops deploy production --yes --json",
    ),
    exits=(3, 4, 6, 7, 130),
)
@environment_argument
@deploy_options
@click.option("--plan", "plan_file", type=PLAN_FILE, metavar="FILE", help="Run exactly this saved plan.")
@click.option("--dry-run", is_flag=True, help="Show the plan and do nothing.")
@yes_option
@lock_wait_option
def deploy_command(
    app: App,
    environment: str,
    plan_file: Path | None,
    dry_run: bool,
    yes: bool,
    lock_wait: float,
    **asked: Any,
) -> None:
    """Make the implementation serve: build, verify, back up, switch.

    What serves now goes on serving until its successor has passed verification, and stays warm after the
    switch. A failure at any step puts everything back.
    """
    from dcops.operations.deploy import deploy, plan

    saved = _load(plan_file, environment) if plan_file else None
    request = _request(environment, plan=saved, lock_wait=lock_wait, **asked)
    if dry_run:
        show_plan(app, saved or plan(app.world(), request))
        return
    with app.progress("deploy", environment) as progress:
        world = app.world(progress.emit)
        report = deploy(world, request, confirmation(app, world, progress, yes=yes))
    show_report(app, report)


def confirmation(app: App, world: World, progress: Progress, *, yes: bool) -> Confirm:
    """Show the plan, and ask where the environment is protected."""
    from dcops.cli.approval import approve
    from dcops.cli.render.plan import plan_lines

    def confirm(plan: Plan) -> None:
        progress.expect(plan)
        if not app.json:
            for line in plan_lines(plan, app.console, brief=True):
                app.console.talk(line)
        because = "sessions and workspace of now are replaced" if plan.has("restore") else ""
        approve(app, world, plan.environment, plan.kind, yes=yes, because=because)

    return confirm


def show_plan(app: App, plan: Plan) -> None:
    from dcops.cli.render.plan import plan_lines

    app.show(
        "plan",
        {"changes": not plan.does_nothing, "plan": plan.to_json()},
        lambda: plan_lines(plan, app.console),
    )


def show_report(app: App, report: DeployReport) -> None:
    """Print how a deploy, rollback, resume or abort ended."""
    app.show(report.plan.kind if report.plan else "deploy", report.to_json(), lambda: _report_lines(report))


def _report_lines(report: DeployReport) -> Iterator[str]:
    from dcops.cli.console import style
    from dcops.cli.render.progress import length

    deployment, plan = report.deployment, report.plan
    release = deployment.revision.short if deployment else "nothing"
    if report.result == "unchanged":
        yield f"{style('Unchanged', 'good')}  {report.environment} serves {release} already"
    elif report.result == "aborted":
        serves = "" if report.warnings else f" serves {release}"
        yield f"{style('Taken back', 'warn')}  {report.environment}{serves}"
    elif report.result == "done":
        kind = plan.kind if plan else "operation"
        yield f"{style('Done', 'good')}  {report.environment}: the interrupted {kind} is finished"
    else:
        word = {"deploy": "Deployed", "rollback": "Rolled back", "restart": "Restarted"}
        verb = word[plan.kind if plan else "deploy"]
        yield f"{style(verb, 'good')}  {report.environment}  {release}  in {length(report.seconds)}"
    yield f"  URL    {report.public_url or report.url}"
    yield f"  Token  {report.token_file}"
    yield from (f"  {style('Note', 'warn')}   {text}" for text in report.warnings)
    if report.result == "deployed" and (plan is None or plan.kind != "restart"):
        yield f"  Undo   {_undo(report)}"


def _undo(report: DeployReport) -> str:
    """The command that goes back; a rollback is gone back from by its backup, or by a deploy."""
    if report.plan is not None and report.plan.current is None:
        return f"dcops down {report.environment}   (nothing served before)"
    if report.plan is None or report.plan.kind != "rollback":
        backup = f"   (backup {report.backup})" if report.backup else ""
        return f"dcops rollback --env {report.environment}{backup}"
    if report.backup:
        return f"dcops rollback {report.backup} --env {report.environment}"
    return " ".join([f"dcops deploy {report.environment}", *_flips_back(report)])


def _flips_back(report: DeployReport) -> Iterator[str]:
    """A rollback has set the toggles in the files too, so a deploy must be told what they were."""
    from dcops.core.toggles import changes, effective

    plan, deployment = report.plan, report.deployment
    if plan is None or deployment is None or plan.current is None:
        return
    schema = plan.current.revision.schema
    now, before = (effective(each, schema) for each in (deployment.revision.toggles, plan.before.values))
    for change in changes(now, before):
        if change.new is not None:
            text = change.new if isinstance(change.new, str) else json.dumps(change.new)
            yield f"--set {change.name}={text}"


def _request(
    environment: str,
    *,
    engine: str | None,
    sets: tuple[str, ...],
    enables: tuple[str, ...],
    disables: tuple[str, ...],
    reason: str,
    origin: str,
    plan: Plan | None = None,
    lock_wait: float = 0.0,
    breaking: bool = False,
) -> DeployRequest:
    from dcops.operations.deploy import DeployRequest

    values = toggle_texts(sets, enables, disables)
    if plan is not None and (values or engine or origin):
        raise click.UsageError(
            "--plan runs exactly the saved plan: it goes with no --set, no --engine and no --from."
        )
    return DeployRequest(
        environment,
        engine=engine,
        sets=values,
        reason=reason,
        origin=origin,
        plan=plan,
        lock_wait=lock_wait,
        breaking=breaking,
    )


def _save(path: Path, plan: Plan) -> None:
    from dcops.core.plan import digest
    from dcops.files import write_file

    document = plan.to_json()
    document["checksum"] = digest(document)
    write_file(path.absolute(), json.dumps(document, indent=2).encode() + b"\n")


def _load(path: Path, environment: str) -> Plan:
    from dcops.core.plan import FORMAT, Plan, digest

    try:
        document = json.loads(path.read_bytes())
        newer = document["format"] > FORMAT
        edited = document.pop("checksum") != digest(document)
        plan = Plan.from_json(document)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _no_plan(path, f"{type(error).__name__}: {error}", environment) from None
    if newer:
        raise _no_plan(path, "a newer dcops made it", environment)
    if edited:
        raise PreconditionMissing(
            "DC-PLAN-EDITED",
            f"{path} was changed since it was made",
            why="its checksum is another one; a deploy runs only what dcops has planned",
            do=f"dcops plan {environment} -o {path}",
        )
    if plan.environment != environment:
        raise click.UsageError(f"{path} is a plan for {plan.environment}, not for {environment}.")
    return plan


def _no_plan(path: Path, why: str, environment: str) -> PreconditionMissing:
    return PreconditionMissing(
        "DC-PLAN-INVALID", f"{path} is no plan", why=why, do=f"dcops plan {environment} -o {path}"
    )
