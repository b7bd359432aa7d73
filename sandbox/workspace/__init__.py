"""A Slack workspace on this machine: Slack's manners, faults on demand, and a page to look at.

    with Workspace() as slack:
        ...                                             # post to slack.api_url with slack.token
        slack.inject("chat.postMessage", "accept_then_close")
        assert slack.channel("deploys").messages[0].text == "hello"

`python -m sandbox.workspace` leaves one running.
"""

from sandbox.workspace.faults import NAMES, Fault
from sandbox.workspace.pacing import Limits
from sandbox.workspace.team import App, Channel, Hook, Message, Team
from sandbox.workspace.workspace import FULL_SCOPES, MINIMAL_SCOPES, Recorded, Workspace

__all__ = [
    "FULL_SCOPES",
    "MINIMAL_SCOPES",
    "NAMES",
    "App",
    "Channel",
    "Fault",
    "Hook",
    "Limits",
    "Message",
    "Recorded",
    "Team",
    "Workspace",
]
