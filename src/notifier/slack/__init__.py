"""The door to Slack: posts and edits, and says which of three things became of each.

`Sent`, `Refused` (nothing was posted) or `Unknown` (it may have been): see `model`. A request is
sent once and never again by itself, because a second copy of a post is a second message. It ends
at a total deadline whatever the other side does, and neither the bot token nor the webhook URL
ever reaches a log line, an error text or an outcome.

Three parts: this one says what is asked of Slack, `answers` what its answers mean, `line` how a
request goes out once and ends in time.
"""

import re
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from notifier.model import Message, Outcome, Refused, Unknown
from notifier.slack.answers import Answer, api_answer, sent, webhook_outcome
from notifier.slack.line import DEADLINE, Line, Target

_TOKEN = re.compile(r"[!-~]+")
_WEBHOOK_URL = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?/[!-~]*")


class Slack:
    """The Web API with a bot token. Lives for one invocation.

    `token(fresh)` returns the secret. After an error of the credentials it is asked once with
    `fresh=True`, and the call is made once more if the token has changed. `deadline` holds for a
    whole call, both tries together. `base_url` ends with a slash.
    """

    def __init__(
        self,
        *,
        base_url: str,
        token: Callable[[bool], str],
        monotonic: Callable[[], float] = time.monotonic,
        deadline: timedelta = DEADLINE,
    ) -> None:
        self._base_url = base_url
        self._line = Line(token, _TOKEN, monotonic, deadline)

    def post(
        self,
        channel: str,
        message: Message,
        *,
        thread_ts: str | None = None,
        broadcast: bool = False,
        metadata: Mapping[str, object] | None = None,
    ) -> Outcome:
        """Post a message, or with `thread_ts` a reply; `broadcast` shows it in the channel too.

        `metadata` is `{"event_type": …, "event_payload": …}`; every app of the workspace can read
        it. https://docs.slack.dev/reference/methods/chat.postMessage
        """
        arguments = {"channel": channel, **_content(message)}
        if thread_ts:
            arguments |= {"thread_ts": thread_ts, "reply_broadcast": broadcast}
        if metadata:
            arguments["metadata"] = metadata
        return sent(self.call("chat.postMessage", arguments))

    def update(self, channel: str, ts: str, message: Message) -> Outcome:
        """Edit a message in place; `channel` must be the channel's id. Its metadata stays.

        https://docs.slack.dev/reference/methods/chat.update
        """
        # Without `parse` an edit would turn "@here" in foreign text into a mention (its default is
        # `client`, unlike a post's); without `blocks` old ones could stay under the new text.
        arguments = {
            "channel": channel,
            "ts": ts,
            "text": message.text,
            "blocks": message.blocks,
            "parse": "none",
        }
        return sent(self.call("chat.update", arguments))

    def call(self, method: str, arguments: Mapping[str, object]) -> Answer | Refused | Unknown:
        """Call a method that takes JSON, such as `auth.test`; see the methods above for posting.

        https://docs.slack.dev/apis/web-api/#post_bodies
        """
        url = self._base_url + method
        return self._line.send(lambda token: Target(url, token), arguments, api_answer)


class Webhook:
    """An incoming webhook: one channel, no thread, no edit. Lives for one invocation.

    `url(fresh)` returns the secret URL; it is asked again as a bot token is.
    """

    def __init__(
        self,
        *,
        url: Callable[[bool], str],
        monotonic: Callable[[], float] = time.monotonic,
        deadline: timedelta = DEADLINE,
    ) -> None:
        self._line = Line(url, _WEBHOOK_URL, monotonic, deadline)

    def post(
        self,
        channel: str,
        message: Message,
        *,
        thread_ts: str | None = None,
        broadcast: bool = False,
        metadata: Mapping[str, object] | None = None,
    ) -> Outcome:
        """Post a flat message. Slack returns no `ts`, so `Sent` names neither channel nor `ts`.

        All but `message` is ignored: the webhook is bound to its channel, and the rest needs a
        bot token.
        """
        return self._line.send(lambda url: Target(url, ""), _content(message), webhook_outcome)


def _content(message: Message) -> dict[str, object]:
    """What a message says. Both flags are needed where blocks hold links, or previews unfold."""
    content: dict[str, object] = {
        "text": message.text,
        "unfurl_links": False,
        "unfurl_media": False,
    }
    return content | {"blocks": message.blocks} if message.blocks else content
