"""What a check can ask for: ``agent``, ``model``, ``toggles``, ``conversation``, ``environment`` and more."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from dcops.errors import DcopsError
from dcops.verification.conversation import Conversation
from dcops.verification.model import Model, reply, text
from dcops.verification.plugin import LINK
from dcops.verification.reach import client_of, wait_until_ready
from dcops.verification.toggles import Toggles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.client import Client
    from dcops.core.verification import Target
    from dcops.verification.twin import Twin

IMPATIENT_SECONDS = 1.0
_GAVE_UP = pytest.StashKey[bool]()
_TOOLS = pytest.StashKey[frozenset[str]]()


@pytest.fixture(scope="session")
def target(pytestconfig: pytest.Config) -> Target:
    """The twin and what it should say of itself."""
    return pytestconfig.stash[LINK].target


@pytest.fixture(scope="session")
def environment(target: Target) -> str:
    """Name of the environment."""
    return target.environment


@pytest.fixture(scope="session")
def twin(pytestconfig: pytest.Config) -> Twin:
    """Control of the twin: restart, kill, logs, control files."""
    return pytestconfig.stash[LINK].twin


@pytest.fixture
def agent(target: Target, pytestconfig: pytest.Config) -> Client:
    """A client of the twin, which is ready."""
    client = client_of(target)
    # A twin that did not become ready once is not waited for again: each check fails at once.
    seconds = IMPATIENT_SECONDS if pytestconfig.stash.get(_GAVE_UP, False) else target.ready_seconds
    pytestconfig.stash[_GAVE_UP] = True
    wait_until_ready(client, seconds)
    pytestconfig.stash[_GAVE_UP] = False
    return client


@pytest.fixture
def model(target: Target, twin: Twin) -> Iterator[Model]:
    """The scripted model of the twin; the check is skipped where there is none."""
    if not target.has_model:
        pytest.skip("there is no scripted model behind this instance")
    model = Model(twin)
    yield model
    model.reset()


@pytest.fixture
def _toggles(agent: Client, twin: Twin, target: Target) -> Iterator[Toggles]:
    """Also where there are none."""
    toggles = Toggles(agent, twin, target)
    yield toggles
    toggles.restore()


@pytest.fixture
def toggles(_toggles: Toggles) -> Toggles:
    """The twin's toggles; they are put back after the check."""
    if not _toggles.declared:
        pytest.skip("this implementation declares no toggles")
    return _toggles


@pytest.fixture
def usual_course(_toggles: Toggles) -> None:
    """Turns start and go on as they do by default, also where the environment wants it otherwise."""
    _toggles.take_usual_course()


@pytest.fixture
def conversation(agent: Client, _toggles: Toggles) -> Iterator[Conversation]:
    """A session that is removed after the check, which is skipped where there are no sessions."""
    _toggles.take_usual_course()
    try:
        session = agent.create_session(synthetic=True)
    except DcopsError as error:
        if error.detail.get("status") not in {404, 405}:
            raise
        pytest.skip("this implementation has no /v1/sessions")
    conversation = Conversation(agent, session)
    yield conversation
    # A twin goes away with all its sessions: one that still runs is no reason to fail.
    with contextlib.suppress(DcopsError):
        agent.stop(session)
        agent.delete_session(session)


@pytest.fixture
def restarts(target: Target) -> None:
    """Marks a check that ends the twin; it is skipped in a run that must be quick."""
    if not target.restarts:
        pytest.skip("this check restarts the twin, which a deployment does not wait for: run `dcops verify`")


@pytest.fixture
def tools(model: Model, conversation: Conversation, pytestconfig: pytest.Config) -> frozenset[str]:
    """Names of the tools that the agent offers its model; it is asked once a run."""
    if _TOOLS not in pytestconfig.stash:
        model.replies(reply(text("ready")))
        conversation.ask("Are you ready?")
        offered = model.requests()[0].get("tools", [])
        pytestconfig.stash[_TOOLS] = frozenset(tool["name"] for tool in offered)
    return pytestconfig.stash[_TOOLS]


@pytest.fixture
def bash(tools: frozenset[str]) -> str:
    """Name of the tool that runs commands; the check is skipped where there is none."""
    if "bash" not in tools:
        pytest.skip("this implementation offers no tool bash")
    return "bash"
