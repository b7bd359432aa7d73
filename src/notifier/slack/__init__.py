"""The door to Slack: posts, edits, looks for what was posted, and says what became of each.

`Sent`, `Refused` (nothing was posted) or `Unknown` (it may have been): see `model`. A request is
sent once and never again by itself, because a second copy of a post is a second message. It ends
at a total deadline whatever the other side does, and neither the bot token nor the webhook URL
ever reaches a log line, an error text or an outcome.

This part says what is asked of Slack, `bodies` how that is written down, `answers` what its answers
mean, `finding` how a message is found again, `line` how a request goes out once and ends in time.
"""

import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from notifier.checkup import ChannelSeen, Identity
from notifier.model import CannotLook, Found, Message, Outcome, Refusal, Refused, Sent, Unknown
from notifier.slack.answers import Answer, api_answer, sent, webhook_outcome
from notifier.slack.bodies import Body, as_form, as_json
from notifier.slack.finding import find
from notifier.slack.line import DEADLINE, Line, Target

_TOKEN = re.compile(r"[!-~]+")
_WEBHOOK_URL = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?/[!-~]*")
_PERMALINK = re.compile(r"https?://[^\s<>|]+")  # what can stand in a link of a message
_DONE_MARK = "white_check_mark"


def _uncounted() -> None:
    """Nobody counts the requests."""


class Slack:
    """The Web API with a bot token. Lives for one invocation.

    `token(fresh)` returns the secret. After an error of the credentials it is asked once with
    `fresh=True`, and the call is made once more if the token has changed. `deadline` holds for a
    whole call, both tries together. `base_url` ends with a slash. `counted` is called before each
    request.
    """

    has_threads = True

    def __init__(
        self,
        *,
        base_url: str,
        token: Callable[[bool], str],
        monotonic: Callable[[], float] = time.monotonic,
        deadline: timedelta = DEADLINE,
        counted: Callable[[], None] = _uncounted,
    ) -> None:
        self._base_url = base_url
        self._line = Line(token, _TOKEN, monotonic, deadline, counted)

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

        A reply whose root was deleted is not refused: it stands alone in the channel, and `Sent`
        has no `thread_ts`.
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

    def find(
        self, channel: str, key: str, *, since: datetime, thread_ts: str | None = None
    ) -> Found:
        """Look for the message whose metadata holds this `key`, in the channel or below a root.

        `channel` must be its id. Only the minutes after `since` are read, see `finding`. All pages
        together end at the deadline. Anything but Slack's whole answer is CannotLook, such as
        `missing_scope`, `not_in_channel` or, which will pass, `ratelimited`.
        https://docs.slack.dev/reference/methods/conversations.history
        https://docs.slack.dev/reference/methods/conversations.replies
        """
        until = self._line.until()

        def read(method: str, arguments: Mapping[str, str]) -> Answer | Refused | Unknown:
            return self._ask(method, as_form(arguments), until)

        return find(read, channel, key, since, thread_ts)

    def mark(self, channel: str, ts: str, *, on: bool) -> Outcome:
        """Let a message bear the reaction that says all is over, or no more.

        https://docs.slack.dev/reference/methods/reactions.add
        https://docs.slack.dev/reference/methods/reactions.remove
        """
        method, so_already = (
            ("reactions.add", "already_reacted") if on else ("reactions.remove", "no_reaction")
        )
        answer = self.call(method, {"channel": channel, "timestamp": ts, "name": _DONE_MARK})
        if isinstance(answer, Answer) or answer.code == so_already:
            return Sent(channel, ts)
        return answer

    def permalink(self, channel: str, ts: str) -> str:
        """The address of a message, or nothing where it cannot be had.

        https://docs.slack.dev/reference/methods/chat.getPermalink
        """
        answer = self._ask("chat.getPermalink", as_form({"channel": channel, "message_ts": ts}))
        link = answer.body.get("permalink") if isinstance(answer, Answer) else ""
        return link if isinstance(link, str) and _PERMALINK.fullmatch(link) else ""

    def identity(self) -> Identity | Refused | Unknown:
        """Whom Slack takes us for, and what the token may do. It needs no scope.

        https://docs.slack.dev/reference/methods/auth.test
        """
        answer = self.call("auth.test", {})
        if not isinstance(answer, Answer):
            return answer
        team, user = answer.body.get("team", ""), answer.body.get("user", "")
        return Identity(str(team), str(user), answer.scopes)

    def channel(self, channel: str) -> ChannelSeen | Refused | Unknown:
        """A channel by its id, as the bot sees it; `missing_scope` without channels:read.

        https://docs.slack.dev/reference/methods/conversations.info
        """
        answer = self._ask("conversations.info", as_form({"channel": channel}))
        if not isinstance(answer, Answer):
            return answer
        shown = answer.body.get("channel")
        if not isinstance(shown, Mapping):
            return Unknown("answer_incomplete")
        return ChannelSeen(
            name=str(shown.get("name", "")),
            is_archived=shown.get("is_archived") is True,
            # What is written to one person has no members.
            is_member=shown.get("is_member") is not False,
        )

    def call(self, method: str, arguments: Mapping[str, object]) -> Answer | Refused | Unknown:
        """Call a method that takes JSON, such as `auth.test`; see the methods above for posting.

        https://docs.slack.dev/apis/web-api/#post_bodies
        """
        return self._ask(method, as_json(arguments))

    def _ask(
        self, method: str, body: Body, until: float | None = None
    ) -> Answer | Refused | Unknown:
        url = self._base_url + method
        return self._line.send(lambda token: Target(url, token), body, api_answer, until)


class Webhook:
    """An incoming webhook: one channel, no thread, no edit. Lives for one invocation.

    `url(fresh)` returns the secret URL; it is asked again as a bot token is.
    https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
    """

    has_threads = False

    def __init__(
        self,
        *,
        url: Callable[[bool], str],
        monotonic: Callable[[], float] = time.monotonic,
        deadline: timedelta = DEADLINE,
        counted: Callable[[], None] = _uncounted,
    ) -> None:
        self._line = Line(url, _WEBHOOK_URL, monotonic, deadline, counted)

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
        body = as_json(_content(message))
        return self._line.send(lambda url: Target(url, ""), body, webhook_outcome)

    def update(self, channel: str, ts: str, message: Message) -> Outcome:
        """What a webhook posted cannot be edited."""
        return Refused(Refusal.TARGET, "webhook")

    def find(
        self, channel: str, key: str, *, since: datetime, thread_ts: str | None = None
    ) -> Found:
        """A webhook cannot read."""
        return CannotLook("webhook")

    def mark(self, channel: str, ts: str, *, on: bool) -> Outcome:
        """A webhook has no reactions: nothing is left to do."""
        return Sent(None, None)

    def permalink(self, channel: str, ts: str) -> str:
        """Nothing: a webhook does not say where its messages are."""
        return ""


def _content(message: Message) -> dict[str, object]:
    """What a message says. Both flags are needed where blocks hold links, or previews unfold."""
    content: dict[str, object] = {
        "text": message.text,
        "unfurl_links": False,
        "unfurl_media": False,
    }
    return content | {"blocks": message.blocks} if message.blocks else content
