"""Faults planted in the deployed stack, for whoever looks whether it is well."""

from collections.abc import Iterator
from contextlib import contextmanager

from sandbox.running import Sandbox

PLANTED = (
    "the rule OtherFailures is disabled",
    "the queue's policy is gone",
    "the event source mapping is disabled",
)


@contextmanager
def planted_faults(sandbox: Sandbox) -> Iterator[None]:
    """Plant them for as long as the `with` block lasts."""
    account = sandbox.account
    events, sqs, lambda_ = (account.client(name) for name in ("events", "sqs", "lambda"))
    names = [rule["Name"] for rule in events.list_rules()["Rules"]]
    (rule,) = [name for name in names if "OtherFailures" in name]
    queue = account.outputs["EventsQueueUrl"]
    asked = {"QueueUrl": queue, "AttributeNames": ["Policy"]}
    policy = sqs.get_queue_attributes(**asked)["Attributes"]["Policy"]
    mappings = lambda_.list_event_source_mappings()["EventSourceMappings"]
    function = account.outputs["EventsFunctionArn"]
    (mapping,) = (row for row in mappings if row["FunctionArn"] == function)
    events.disable_rule(Name=rule)
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": ""})
    lambda_.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    try:
        yield
    finally:
        events.enable_rule(Name=rule)
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
        lambda_.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
