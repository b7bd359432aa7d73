"""Names from ARNs, and the pages that they lead to."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier import arns
from notifier.arns import Arn, cluster_arn_of, parse_arn

TASK = "0123456789abcdef0123456789abcdef"
EXECUTION = "333ba70b-2333-48db-b17e-a5e69c6f4d1c"
DEPLOYMENT = "0EYSiB0qap8xf0N76FsbE"

# resource → cluster, service, daemon
NAMES = [
    ("cluster/shop", "shop", None, None),
    ("service/shop/checkout", "shop", "checkout", None),
    ("service/checkout", None, "checkout", None),
    (f"task/shop/{TASK}", "shop", None, None),
    ("task/b99d40b3-5176-4f71-9a52-9dbd6f1cebef", None, None, None),
    (f"container-instance/shop/{TASK}", "shop", None, None),
    ("container-instance/b54a2a04-046f-4331-9d74-3f6d7f6ca315", None, None, None),
    (f"service-deployment/shop/checkout/{DEPLOYMENT}", "shop", "checkout", None),
    ("service-revision/shop/checkout/4980306466373577095", "shop", "checkout", None),
    ("task-set/shop/checkout/ecs-svc/1234567890123456789", "shop", "checkout", None),
    ("daemon/shop/log-router", "shop", None, "log-router"),
    (f"daemon-deployment/shop/log-router/{DEPLOYMENT}", "shop", None, "log-router"),
    ("daemon-revision/shop/log-router/85707969-3732", "shop", None, "log-router"),
    ("task-definition/checkout:43", None, None, None),
    ("capacity-provider/FARGATE_SPOT", None, None, None),
    ("something-new/shop/checkout", None, None, None),
]
PARTITIONS = [("aws", "eu-west-1"), ("aws-cn", "cn-north-1"), ("aws-us-gov", "us-gov-west-1")]


def arn(resource: str, partition: str = "aws", region: str = "eu-west-1") -> str:
    return f"arn:{partition}:ecs:{region}:123456789012:{resource}"


@pytest.mark.parametrize(("partition", "region"), PARTITIONS)
@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[0])
def test_an_arn_says_its_cluster_service_or_daemon(
    names: tuple[str, str | None, str | None, str | None], partition: str, region: str
) -> None:
    resource, cluster, service, daemon = names
    read = parse_arn(arn(resource, partition, region))

    assert read
    of_cluster = cluster_arn_of(read)
    expected = arn(f"cluster/{cluster}", partition, region) if cluster else None
    assert (str(of_cluster) if of_cluster else None) == expected
    assert (arns.service_name(read), arns.daemon_name(read)) == (service, daemon)


@pytest.mark.parametrize("resource", [resource for resource, *_ in NAMES])
def test_an_arn_that_was_read_is_written_as_it_was(resource: str) -> None:
    text = arn(resource)
    read = parse_arn(text)

    assert str(read) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "checkout",
        "arn:aws:ecs",
        "arn:aws:ecs:eu-west-1:123456789012:",
        arn("service"),
        arn("service/"),
        arn("service//checkout"),
        arn("service/shop/checkout/more"),
        arn("cluster/shop/more"),
        arn("cluster/a b"),
        arn("cluster/ü"),
        arn("cluster/.."),
        arn("cluster/" + "x" * 256),
        arn("new/" + "/".join(["x" * 200] * 20)),
        arn("cluster/shop", region="evil.example"),
        arn("cluster/shop", region=""),
        arn("cluster/shop", partition="amazon"),
        arn("cluster/shop").replace(":ecs:", ":ec2:"),
        arn("cluster/shop").replace("123456789012", ""),
        "arn:aws:iam::123456789012:role/checkout",
        "arn:aws:ec2:us-east-2a:instance/i-1234567890abcdef0",
        "\ud800",
    ],
)
def test_every_other_text_is_no_arn(text: str) -> None:
    assert parse_arn(text) is None


def test_a_masked_arn_of_a_published_sample_can_be_read() -> None:
    read = parse_arn("arn:aws:ecs:eu-west-1:############:service/shop/checkout")

    assert read == Arn("aws", "eu-west-1", "############", "service", ("shop", "checkout"))


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        *[(region, partition) for partition, region in PARTITIONS],
        ("us-gov-east-1", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
        ("eu-isoe-west-1", "aws-iso-e"),
        ("us-isof-south-1", "aws-iso-f"),
        ("eusc-de-east-1", "aws-eusc"),
        ("xx-new-1", "aws"),
    ],
)
def test_a_region_is_in_its_partition(region: str, partition: str) -> None:
    assert arns.partition_of(region) == partition


def test_short_names_are_found_in_arns_and_other_texts_are_given_back() -> None:
    assert arns.cluster_name(arn("cluster/shop")) == "shop"
    assert arns.cluster_name("unknown cluster (1, eu-west-1)") == "unknown cluster (1, eu-west-1)"
    assert arns.cluster_name(arn("service/shop/checkout")) == arn("service/shop/checkout")
    assert arns.task_id(arn(f"task/shop/{TASK}")) == arns.task_id(arn(f"task/{TASK}")) == TASK
    assert arns.task_id(TASK) == TASK
    assert arns.revision_label(arn("task-definition/checkout:43")) == "checkout:43"
    assert arns.revision_label("checkout:43") == "checkout:43"
    assert arns.revision_label("") == ""


# --- pages of the console ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("partition", "region", "host"),
    [
        ("aws", "eu-west-1", "eu-west-1.console.aws.amazon.com"),
        ("aws-cn", "cn-north-1", "cn-north-1.console.amazonaws.cn"),
        ("aws-us-gov", "us-gov-west-1", "us-gov-west-1.console.amazonaws-us-gov.com"),
    ],
)
def test_links_lead_to_the_console_of_the_partition(partition: str, region: str, host: str) -> None:
    cluster = arn("cluster/shop", partition, region)
    page = f"https://{host}/ecs/v2/clusters/shop"

    assert arns.cluster_url(cluster) == f"{page}/services?region={region}"
    assert arns.service_deployments_url(cluster, "checkout") == (
        f"{page}/services/checkout/deployments?region={region}"
    )
    assert arns.service_events_url(cluster, "checkout") == (
        f"{page}/services/checkout/events?region={region}"
    )
    for task in (arn(f"task/shop/{TASK}"), arn(f"task/{TASK}")):
        assert arns.task_url(cluster, task) == f"{page}/tasks/{TASK}?region={region}"
    assert arns.log_stream_url(region, "/ecs/shop", f"app/web/{TASK}") == (
        f"https://{host}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/"
        f"$252Fecs$252Fshop/log-events/app$252Fweb$252F{TASK}"
    )
    assert arns.execution_url(region, EXECUTION) == (
        f"https://{host}/systems-manager/automation/execution/{EXECUTION}?region={region}"
    )


def test_there_is_no_link_where_it_would_be_dead() -> None:
    unknown = "unknown cluster (123456789012, eu-west-1)"
    isolated = arn("cluster/shop", "aws-iso", "us-iso-east-1")

    for cluster in (unknown, isolated, arn("service/shop/checkout"), ""):
        assert arns.cluster_url(cluster) is None
        assert arns.service_deployments_url(cluster, "checkout") is None
        assert arns.service_events_url(cluster, "checkout") is None
        assert arns.task_url(cluster, arn(f"task/shop/{TASK}")) is None
    assert arns.task_url(arn("cluster/shop"), arn("service/shop/checkout")) is None
    assert arns.log_stream_url("us-iso-east-1", "/ecs/shop", "x") is None
    assert arns.log_stream_url("evil.example/", "/ecs/shop", "x") is None
    assert arns.execution_url("us-iso-east-1", EXECUTION) is None
    assert arns.execution_url("eu-west-1", "../../evil") is None
    assert arns.execution_url("eu-west-1", f"{EXECUTION}\n") is None


def test_names_cannot_change_where_a_link_leads() -> None:
    assert arns.service_events_url(arn("cluster/a?b#c%d"), 'x/../"><script>') == (
        "https://eu-west-1.console.aws.amazon.com/ecs/v2/clusters/a%3Fb%23c%25d"
        "/services/x%2F..%2F%22%3E%3Cscript%3E/events?region=eu-west-1"
    )
    assert arns.log_stream_url("eu-west-1", "a$b c", "d|e") == (
        "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1"
        "#logsV2:log-groups/log-group/a$2524b$2520c/log-events/d$257Ce"
    )


# --- whatever may come ------------------------------------------------------------------------

QUICK = settings(max_examples=300, deadline=None, database=None)
texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=30)
kinds = st.sampled_from(["service", "task", "cluster", "container-instance", "task-set", "new"])
arn_like = st.builds(
    "arn:{}:ecs:{}:{}:{}/{}".format,
    st.sampled_from(["aws", "aws-cn", "aws-us-gov"]) | texts,
    st.sampled_from(["eu-west-1", "cn-north-1", "us-gov-west-1"]) | texts,
    st.just("123456789012") | texts,
    kinds,
    st.lists(texts | st.from_regex(r"[!-~]{1,9}", fullmatch=True), max_size=4).map("/".join),
)
links = re.compile(r"https://[a-z0-9.-]+/[!#-;=?-~]*")  # no space, quote or angle bracket


@QUICK
@given(texts | arn_like)
def test_any_text_is_an_arn_or_none_and_every_function_takes_it(text: str) -> None:
    read = parse_arn(text)

    assert arns.cluster_name(text) is not None
    assert arns.revision_label(text) is not None
    assert arns.task_id(text) is not None
    assert arns.partition_of(text)
    if read is not None:
        assert str(read) == text
        assert text.isascii()
        cluster = cluster_arn_of(read)
        assert cluster is None or parse_arn(str(cluster)) == cluster
        assert arns.service_name(read) != ""


@QUICK
@given(texts | arn_like, texts, texts | arn_like, st.sampled_from(["eu-west-1", "cn-x"]) | texts)
def test_every_link_is_ascii_without_a_space_a_quote_or_an_angle_bracket(
    cluster: str, name: str, task: str, region: str
) -> None:
    for link in (
        arns.cluster_url(cluster),
        arns.service_deployments_url(cluster, name),
        arns.service_deployments_url(arn("cluster/shop"), name),
        arns.service_events_url(cluster, name),
        arns.task_url(cluster, task),
        arns.task_url(arn("cluster/shop"), task),
        arns.log_stream_url(region, cluster, name),
        arns.execution_url(region, name),
    ):
        assert link is None or links.fullmatch(link)
