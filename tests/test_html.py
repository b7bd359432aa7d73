"""What a message looks like, and what in it is live."""

import re
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.cli.html import notification_text, page, render_block, render_message
from notifier.cli.mrkdwn import Reader, ago, date_text, mrkdwn_html, mrkdwn_plain, ordinal

NOON = datetime(2026, 11, 23, 12, 4, tzinfo=UTC)
READER = Reader(
    users={"U0MIKA0001": "mika"},
    channels={"C0DEPLOYS1": "deploys"},
    groups={"S0SRE00001": "sre"},
    now=NOON + timedelta(hours=1),
)
AT_NOON = int(NOON.timestamp())


def shown(text: str, **options: bool) -> str:
    return mrkdwn_html(text, READER, **options)


class Tags(HTMLParser):
    """Counts what a browser would find."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    tags.close()
    return tags


# --- what is live -----------------------------------------------------------------------------


def test_an_escaped_channel_mention_is_text_and_not_a_mention() -> None:
    html = shown("&lt;!channel&gt;")

    assert html == "&lt;!channel&gt;"


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("<!channel>", "broadcast", "@channel"),
        ("<!here>", "broadcast", "@here"),
        ("<!everyone|everyone>", "broadcast", "@everyone"),
        ("<@U0MIKA0001>", "user", "@mika"),
        ("<@U0OTHER001|sam>", "user", "@sam"),
        ("<@U0OTHER001>", "user", "@U0OTHER001"),
        ("<#C0DEPLOYS1>", "channel", "#deploys"),
        ("<!subteam^S0SRE00001>", "group", "@sre"),
        ("<!subteam^S0OTHER001|@web>", "group", "@web"),
    ],
)
def test_a_mention_is_highlighted(text: str, kind: str, words: str) -> None:
    assert shown(text, verbatim=True) == f'<span class="mention {kind}">{words}</span>'


def test_a_mention_is_live_even_in_code() -> None:
    assert 'class="mention broadcast"' in shown("`<!here>`")


@pytest.mark.parametrize("text", ["<foo>", "<javascript:alert(1)|click>", "<data:text/html,x>"])
def test_what_is_no_link_of_slacks_is_shown_as_it_stands(text: str) -> None:
    assert "<a" not in shown(text)
    assert shown(text).startswith("&lt;")


def test_a_link_shows_its_label_and_opens_its_address() -> None:
    html = shown("<https://example.com/?a=1&amp;b=2|the *logs*>")

    (tag, attributes) = parsed(html).opened[0]
    assert (tag, attributes["href"]) == ("a", "https://example.com/?a=1&b=2")
    assert parsed(html).words == ["the *logs*"]


def test_a_mailto_link_without_label_shows_the_address() -> None:
    assert parsed(shown("<mailto:sre@example.com>")).words == ["sre@example.com"]


def test_a_bare_address_becomes_a_link_without_the_full_stop() -> None:
    html = shown("see https://example.com/a_b_c.")

    assert parsed(html).opened[0][1]["href"] == "https://example.com/a_b_c"
    assert html.endswith("</a>.")


def test_verbatim_leaves_bare_addresses_and_names_alone_but_formats() -> None:
    html = shown("*b* @here #deploys https://example.com <!here>", verbatim=True)

    assert html.startswith("<strong>b</strong> @here #deploys https://example.com ")
    assert html.count("mention") == 1


def test_bare_names_are_live_where_slack_reads_them() -> None:
    assert shown("@here #deploys #other me@here").count('class="mention') == 2


def test_bare_names_in_the_top_level_text_are_not_read() -> None:
    assert "mention" not in render_message({"text": "@channel"})
    assert "mention" in render_message({"text": "@channel", "link_names": True})


def test_only_slacks_three_entities_are_decoded() -> None:
    assert shown("&quot;&amp;&lt;&#33;") == "&amp;quot;&amp;&lt;&amp;#33;"


def test_an_entity_is_decoded_once() -> None:
    assert shown("&amp;lt;!here&amp;gt;") == "&amp;lt;!here&amp;gt;"


# --- formatting -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("*bold* _it_ ~no~", "<strong>bold</strong> <em>it</em> <s>no</s>"),
        ("*_both_*", "<strong><em>both</em></strong>"),
        ("2*3*4 snake_case_name", "2*3*4 snake_case_name"),
        ("* not bold *", "* not bold *"),
        ("`*a* <b>`", "<code>*a* &lt;b&gt;</code>"),
        ("a\nb", "a<br>b"),
        ("x\n&gt; q\n&gt; r\ny", "x<blockquote>q<br>r</blockquote>y"),
        ("> raw", "<blockquote>raw</blockquote>"),
        ("a\n```\nx *y*\n```\nb", "a<pre>x *y*\n</pre>b"),
        ("*<https://a.b|x>*", "<strong><a "),
        (":white_check_mark: :nonesuch:", "✅ :nonesuch:"),
    ],
)
def test_mrkdwn_is_formatted_as_slack_does(text: str, html: str) -> None:
    assert shown(text).startswith(html)


def test_a_date_is_shown_in_the_readers_time_zone() -> None:
    reader = Reader(timezone=timezone(timedelta(hours=2)), now=NOON)
    html = mrkdwn_html(f"<!date^{AT_NOON}^{{date_short_pretty}} at {{time}}|12:04 UTC>", reader)

    assert html == '<time title="12:04 UTC">Today at 14:04</time>'


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("{date_num} {time_secs}", "2026-11-23 12:04:00"),
        ("{date}", "November 23rd, 2026"),
        ("{date_long}", "Monday, November 23rd, 2026"),
        ("{date_pretty}", "Today"),
        ("{ago}", "1 hour ago"),
        ("{nonsense}", "fallback"),
    ],
)
def test_a_date_has_slacks_forms(form: str, words: str) -> None:
    assert date_text(AT_NOON, form, "fallback", READER) == words


def test_an_impossible_date_shows_its_fallback() -> None:
    assert date_text(10**18, "{date}", "then", READER) == "then"


def test_yesterday_tomorrow_and_how_long_ago() -> None:
    day = 86400

    assert date_text(AT_NOON - day, "{date_short_pretty}", "", READER) == "Yesterday"
    assert date_text(AT_NOON + day, "{date_short_pretty}", "", READER) == "Tomorrow"
    assert ago(timedelta(seconds=-180)) == "in 3 minutes"
    assert ago(timedelta()) == "now"
    assert [ordinal(day) for day in (1, 2, 3, 11, 12, 22)] == [
        "1st",
        "2nd",
        "3rd",
        "11th",
        "12th",
        "22nd",
    ]


# --- blocks -----------------------------------------------------------------------------------


def rich(*elements: dict[str, Any], kind: str = "rich_text_section") -> dict[str, Any]:
    return {"type": "rich_text", "elements": [{"type": kind, "elements": list(elements)}]}


def test_blocks_hide_the_text_as_in_slack() -> None:
    html = render_message({"text": "for the phone", "blocks": [{"type": "divider"}]})

    assert "<hr>" in html
    assert "phone" not in html


def test_plain_text_is_never_live() -> None:
    header = {"type": "header", "text": {"type": "plain_text", "text": "*a* <!here> <b>"}}

    assert render_block(header) == '<h3 class="header">*a* &lt;!here&gt; &lt;b&gt;</h3>'


def test_a_section_shows_text_and_fields() -> None:
    field = {"type": "mrkdwn", "text": "*Why*\noom"}
    html = render_block({"type": "section", "text": field, "fields": [field, field]})

    assert html.count("<strong>Why</strong><br>oom") == 3


def test_verbatim_of_a_block_is_obeyed() -> None:
    text = {"type": "mrkdwn", "text": "@here", "verbatim": True}

    assert "mention" not in render_block({"type": "section", "text": text})
    assert "mention" in render_block({"type": "section", "text": text | {"verbatim": False}})


def test_rich_text_words_are_never_parsed() -> None:
    words = {"type": "text", "text": "<!channel> *a* &lt; <b>"}

    assert "<pre>&lt;!channel&gt; *a* &amp;lt; &lt;b&gt;</pre>" in render_block(
        rich(words, kind="rich_text_preformatted")
    )


def test_rich_text_mentions_links_dates_and_styles_are_live() -> None:
    html = render_block(
        rich(
            {"type": "broadcast", "range": "here"},
            {"type": "user", "user_id": "U0MIKA0001"},
            {"type": "usergroup", "usergroup_id": "S0SRE00001"},
            {"type": "channel", "channel_id": "C0DEPLOYS1"},
            {"type": "link", "url": "https://example.com", "text": "logs"},
            {"type": "emoji", "name": "tada"},
            {"type": "date", "timestamp": AT_NOON, "format": "{time}", "fallback": "x"},
            {"type": "text", "text": "loud", "style": {"bold": True, "code": True}},
            {"type": "color", "value": "#fff"},
        ),
        READER,
    )

    words = "".join(parsed(html).words)
    assert words == "@here@mika@sre#deployslogs🎉12:04loud#fff"
    assert "<strong><code>loud</code></strong>" in html
    assert html.count("mention") == 4


def test_a_javascript_link_in_rich_text_is_only_its_words() -> None:
    html = render_block(rich({"type": "link", "url": "javascript:alert(1)", "text": "x"}))

    assert "<a" not in html


def test_a_rich_list_and_a_quote_are_shown() -> None:
    item = {"type": "rich_text_section", "elements": [{"type": "text", "text": "one"}]}
    listed = {"type": "rich_text_list", "style": "ordered", "elements": [item]}
    quote = {"type": "rich_text_quote", "elements": [{"type": "text", "text": "a\nb"}]}
    html = render_block({"type": "rich_text", "elements": [listed, quote]})

    assert '<ol class="indent-0"><li><div>one</div></li></ol>' in html
    assert "<blockquote>a<br>b</blockquote>" in html


def test_other_blocks_of_messages_are_shown() -> None:
    button = {"type": "button", "text": {"type": "plain_text", "text": "Go"}, "style": "danger"}
    picture = {"type": "image", "alt_text": "graph", "image_url": "https://example.com/g.png"}
    html = "".join(
        render_block(block)
        for block in (
            {"type": "context", "elements": [{"type": "plain_text", "text": "small"}, picture]},
            {"type": "actions", "elements": [button]},
            {"type": "markdown", "text": "**as it stands**"},
            {"type": "table", "rows": [[{"type": "raw_text", "text": "cell"}]]},
            picture,
        )
    )

    for words in ("small", "Go", "**as it stands**", "<td>cell</td>", "graph"):
        assert words in html
    assert "<img" not in html, "a page of ours fetches nothing"


def test_a_block_nobody_knows_does_not_vanish() -> None:
    html = render_block({"type": "sectoin", "text": "<b>"})

    assert "sectoin" in html
    assert "<b>" not in html


def test_an_attachment_has_its_bar_and_no_style_of_its_own() -> None:
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "in it"}}]
    html = render_message({"attachments": [{"color": "danger", "blocks": blocks}]})
    evil = render_message({"attachments": [{"color": 'red"><script>', "title": "t", "text": "x"}]})

    assert 'style="border-color:#a30200"' in html
    assert "in it" in html
    assert 'style="border-color:#dddddd"' in evil


# --- the phone, and pages ---------------------------------------------------------------------


def test_a_phone_shows_labels_and_names_without_formatting() -> None:
    text = (
        "*prod* / `web`: <https://x.y|logs> <@U0MIKA0001> &lt;b&gt; :x: "
        f"<!date^{AT_NOON}^{{time}}|?>"
    )

    assert mrkdwn_plain(text, READER) == "prod / web: logs @mika <b> ❌ 12:04"
    assert notification_text({"text": "*a*", "mrkdwn": False}) == "*a*"


def test_a_page_needs_nothing_from_elsewhere() -> None:
    linked = {"text": "hello <https://example.com|there>"}
    html = page([("one", linked), ("two", {"blocks": []}), ("<three>", None)], "A <title>")

    assert "<h2>&lt;three&gt;</h2></main>" in html
    assert "<title>A &lt;title&gt;</title>" in html
    assert "no text: a phone has nothing to show" in html
    assert "default-src 'none'" in html
    assert not re.search(r"""(src|@import|url\()\s*=?\s*["']?(https?:)?//""", html)


def test_an_edited_text_is_marked_and_edited_blocks_are_not() -> None:
    edited: dict[str, Any] = {"text": "new", "edited": {"ts": "1.000000"}}

    assert "(edited)" in render_message(edited)
    assert "(edited)" not in render_message(edited | {"blocks": [{"type": "divider"}]})


HARMLESS = {"div", "span", "a", "b", "br", "strong", "em", "s", "code", "pre", "blockquote", "time"}
HOSTILE = st.text(alphabet=st.sampled_from("<>&;!@#|^*_~`:\"'\n \x00aU0ht/ps") | st.characters())


@given(text=HOSTILE)
def test_no_text_can_bring_a_tag_of_its_own(text: str) -> None:
    for verbatim in (True, False):
        tags = parsed(mrkdwn_html(text, READER, verbatim=verbatim))
        for tag, attributes in tags.opened:
            assert tag in HARMLESS
            assert not [name for name in attributes if name.startswith("on")]
            assert re.match(r"https?://|mailto:", attributes.get("href") or "https://")


@given(text=HOSTILE)
def test_escaped_text_is_shown_whole_and_mentions_nobody(text: str) -> None:
    text = re.sub("[*_~`:\x00\r]", "", text)
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    tags = parsed(mrkdwn_html(escaped, READER, verbatim=True))

    assert not {tag for tag, _ in tags.opened} - {"br", "blockquote"}
    if "\n" not in text and not text.startswith(">"):
        assert "".join(tags.words) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "elements", "fields", "rows", "style", "indent"]),
            inner | st.sampled_from(["section", "rich_text", "mrkdwn", "table", "date", "link"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(blocks=JSON)
def test_no_payload_breaks_the_renderer(blocks: Any) -> None:
    assert render_message({"blocks": blocks, "attachments": blocks})
