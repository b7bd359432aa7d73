"""What Slack's answers mean: each word and each status becomes one of the outcomes of `model`.

Web API: https://docs.slack.dev/apis/web-api/ (HTTP 200 with `ok: false` is an error)
Webhooks: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from notifier.model import Outcome, Refusal, Refused, Sent, Unknown

_WAIT = timedelta(seconds=30)  # when rate limited and not told how long
_SHORTEST_WAIT = timedelta(seconds=1)
_LONGEST_WAIT = timedelta(minutes=15)

# https://docs.slack.dev/reference/methods/chat.postMessage#errors
# https://docs.slack.dev/reference/methods/chat.update#errors
# https://docs.slack.dev/reference/methods/reactions.add#errors
# https://docs.slack.dev/reference/methods/conversations.history#errors
# https://docs.slack.dev/reference/methods/conversations.replies#errors
# https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors
_CODES: dict[Refusal, str] = {
    Refusal.RATE_LIMITED: "ratelimited rate_limited message_limit_exceeded",
    Refusal.UNAVAILABLE: """
        service_unavailable request_timeout team_added_to_org org_login_required
        external_channel_migrating update_failed streaming_state_conflict
        duplicate_channel_not_found duplicate_message_not_found""",
    Refusal.PAYLOAD: """
        invalid_blocks invalid_blocks_format msg_blocks_too_long msg_too_long no_text
        too_many_attachments too_many_contact_cards attachment_payload_limit_exceeded
        invalid_attachments invalid_metadata_format invalid_metadata_schema metadata_too_large
        metadata_must_be_sent_from_app markdown_text_conflict invalid_arguments invalid_arg_name
        invalid_array_arg invalid_charset invalid_form_data invalid_json json_not_object
        invalid_post_type missing_post_type missing_charset superfluous_charset
        as_user_not_supported no_dual_broadcast_content_update cant_broadcast_message
        invalid_payload user_not_found invalid_name no_item_specified
        invalid_cursor invalid_limit invalid_ts_latest invalid_ts_oldest invalid_metadata_keys""",
    Refusal.CHANNEL: """
        channel_not_found not_in_channel is_archived is_inactive channel_is_archived
        restricted_action restricted_action_read_only_channel restricted_action_thread_only_channel
        messages_tab_disabled method_not_supported_for_channel_type
        no_permission access_denied team_not_found
        slack_connect_file_link_sharing_blocked posting_to_general_channel_denied""",
    Refusal.CREDENTIALS: """
        invalid_auth not_authed account_inactive token_revoked token_expired missing_scope
        not_allowed_token_type accesslimited team_access_not_granted app_access_restricted
        ekm_access_denied enterprise_is_restricted two_factor_setup_required
        deprecated_endpoint method_deprecated
        invalid_token action_prohibited no_service no_service_id no_active_hooks no_team
        team_disabled""",
    Refusal.TARGET: """
        message_not_found cant_update_message edit_window_closed block_mismatch
        thread_not_found invalid_thread_ts cannot_reply_to_message
        restricted_action_thread_locked restricted_action_non_threadable_channel
        bad_timestamp not_reactable thread_locked too_many_emoji too_many_reactions""",
}
REFUSALS = {code: refusal for refusal, codes in _CODES.items() for code in codes.split()}

# "It's possible some aspect of the operation succeeded before the error was raised."
AMBIGUOUS = frozenset({"internal_error", "fatal_error"})

# A webhook whose body is no word of the list above: its status decides.
# https://docs.slack.dev/changelog/2016-05-17-changes-to-errors-for-incoming-webhooks
_WEBHOOK_STATUSES = {
    400: Refusal.PAYLOAD,
    403: Refusal.CREDENTIALS,
    404: Refusal.CREDENTIALS,
    410: Refusal.CHANNEL,
    413: Refusal.PAYLOAD,
}
_API_STATUSES = {413: Refusal.PAYLOAD}


@dataclass(frozen=True, slots=True)
class Answer:
    """Slack's JSON object, whose `ok` is true, and the scopes of the token where Slack says them.

    https://docs.slack.dev/authentication/tokens#methods
    """

    body: Mapping[str, object]
    scopes: frozenset[str] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer. `body` is None when it could not be read whole, and `fault` says why."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None
    fault: str = ""


def api_answer(reply: Reply) -> Answer | Refused | Unknown:
    """What the Web API said: the word in `error` decides, and without one the status does."""
    body = _json_object(reply.body)
    code = _code(body.get("error"))
    if early := _by_status(reply, code):
        return early
    if body.get("ok") is False:
        return _error(code or "no_error_code", reply.headers)
    if not 200 <= reply.status < 300:
        return _http_error(reply.status, _API_STATUSES)
    if body.get("ok") is True:
        return Answer(body, _scopes(reply.headers))
    return Unknown(reply.fault or "answer_unreadable")


def webhook_outcome(reply: Reply) -> Outcome:
    """What a webhook said: 200 with the body `ok` is success, else its word or its status."""
    text = (reply.body or b"").decode(errors="replace").strip()
    code = _code(text)
    if early := _by_status(reply, code):
        return early
    if reply.status == 200:
        return Sent(None, None) if text == "ok" else Unknown(reply.fault or "answer_unreadable")
    if code in REFUSALS:
        return _error(code, reply.headers)
    return _http_error(reply.status, _WEBHOOK_STATUSES)


def _by_status(reply: Reply, code: str) -> Refused | Unknown | None:
    if reply.status == 429:
        return Refused(Refusal.RATE_LIMITED, code or "ratelimited", _retry_after(reply.headers))
    if reply.status >= 500:
        return Unknown(code or f"http_{reply.status}")
    return None


def _http_error(status: int, refusals: Mapping[int, Refusal]) -> Refused:
    """A redirect is an error too: Slack sends none, so something in between did."""
    return Refused(refusals.get(status, Refusal.UNAVAILABLE), f"http_{status}")


def _error(code: str, headers: Mapping[str, str]) -> Refused | Unknown:
    if code in AMBIGUOUS:
        return Unknown(code)
    refusal = REFUSALS.get(code, Refusal.UNAVAILABLE)
    limited = refusal is Refusal.RATE_LIMITED
    return Refused(refusal, code, _retry_after(headers) if limited else None)


def sent(answer: Answer | Refused | Unknown) -> Outcome:
    """The outcome of a post or an edit. Without channel and `ts` it cannot be found again."""
    if not isinstance(answer, Answer):
        return answer
    channel, ts = answer.body.get("channel"), answer.body.get("ts")
    if isinstance(channel, str) and isinstance(ts, str) and channel and ts:
        return Sent(channel, ts, thread_of(answer.body.get("message"), ts))
    return Unknown("answer_incomplete")


def thread_of(message: object, ts: str) -> str | None:
    """The root that a message stands under. A root with replies names itself, which is none."""
    match message:
        case {"thread_ts": str(root)} if root not in ("", ts):
            return root
    return None


def _json_object(body: bytes | None) -> dict[str, object]:
    # RecursionError: a body of nothing but "[" is too deep for the parser.
    with suppress(ValueError, RecursionError):
        parsed = json.loads(body or b"")
        return parsed if isinstance(parsed, dict) else {}
    return {}


def _scopes(headers: Mapping[str, str]) -> frozenset[str] | None:
    names = headers.get("X-OAuth-Scopes")
    if names is None:
        return None
    return frozenset(name.strip() for name in names.split(",") if name.strip())


def _code(word: object) -> str:
    """Slack's word for an error. What does not look like one may be anything, even our secret."""
    if isinstance(word, str) and re.fullmatch(r"[a-z][a-z0-9_]{0,79}", word):
        return word
    return ""


def _retry_after(headers: Mapping[str, str]) -> timedelta:
    """How long to wait, between a second and 15 minutes.

    Slack gives seconds, HTTP allows a date as well: https://docs.slack.dev/apis/web-api/rate-limits
    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", value):
        seconds = float(value)
    else:
        # The answer's own Date is the only clock that is sure to agree with its Retry-After.
        then, now = _http_date(value), _http_date(headers.get("Date", ""))
        seconds = (then - now if then and now else _WAIT).total_seconds()
    shortest, longest = _SHORTEST_WAIT.total_seconds(), _LONGEST_WAIT.total_seconds()
    return timedelta(seconds=min(max(seconds, shortest), longest))


def _http_date(value: str) -> datetime | None:
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
