"""What an incoming webhook answers: an HTTP status and a bare word.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

from collections.abc import Mapping
from typing import Any

from sandbox.workspace.methods import Call, Refusal, checked_metadata, content_of, formatting, place
from sandbox.workspace.team import App, Channel, Hook, Message, Team

STATUSES: Mapping[str, int] = {
    "action_prohibited": 403,
    "channel_is_archived": 410,
    "channel_not_found": 404,
    "invalid_token": 403,
    "no_active_hooks": 404,
    "no_service": 404,
    "no_service_id": 404,
    "no_team": 404,
    "posting_to_general_channel_denied": 403,
    "rollup_error": 500,
    "team_disabled": 403,
}


def status_of(error: str) -> int:
    """The HTTP status of a webhook's error: 400 for all that is wrong with the payload."""
    return STATUSES.get(error, 400)


def deliver(team: Team, path: str, payload: object, now: float) -> tuple[int, str]:
    """Post a webhook's payload; `(200, "ok")`, or a status and the error's name."""
    try:
        hook = enabled_hook(team, path)
        if not isinstance(payload, Mapping):
            raise Refusal("invalid_payload")
        _post(team, hook, payload, now)
    except Refusal as refusal:
        return status_of(refusal.error), refusal.error
    return 200, "ok"


def enabled_hook(team: Team, path: str) -> Hook:
    """The webhook at `/services/T…/B…/…`."""
    hook = next((hook for hook in team.hooks if hook.path == path), None)
    if hook is None:
        same_app = any(h.path.rsplit("/", 1)[0] == path.rsplit("/", 1)[0] for h in team.hooks)
        raise Refusal("invalid_token" if same_app else "no_service")
    if not hook.enabled:
        raise Refusal("no_service")
    return hook


def _post(team: Team, hook: Hook, payload: Mapping[str, Any], now: float) -> None:
    channel = _open_channel(team, hook)
    app = App(token="", scopes=frozenset(), bot_id=hook.bot_id)
    call = Call(team, app, payload, now)
    content, metadata = content_of(call), checked_metadata(call)
    if not any(content.values()):
        raise Refusal("no_text")
    message = Message(
        ts=team.next_ts(now),
        text=content.get("text", ""),
        bot_id=hook.bot_id,
        app_id=hook.app_id,
        app=hook.name,
        blocks=content.get("blocks", []),
        attachments=content.get("attachments", []),
        metadata=metadata or {},
        formatting=formatting(call),
    )
    place(channel, message, call.text("thread_ts"), broadcast=call.flag("reply_broadcast"))
    team.changes += 1


def _open_channel(team: Team, hook: Hook) -> Channel:
    channel = team.channels.get(hook.channel)
    if channel is None:
        raise Refusal("channel_not_found")
    if channel.archived:
        raise Refusal("channel_is_archived")
    return channel
