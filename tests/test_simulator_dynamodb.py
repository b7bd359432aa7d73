"""The simulator's DynamoDB answers as another implementation does, whatever it is asked."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws

from tests.simulator import dynamodb
from tests.simulator.expressions import parsed
from tests.simulator.faults import Dice, Faults
from tests.simulator.scheduler import Scheduler
from tests.watch import table

PARTITIONS = ("a", "b")
SORTS = ("s#1", "s#2", "t#1", "t#2")
TEXTS = ("", "one", "two", "2026-01-01")


@pytest.fixture
def moto() -> Iterator[Any]:
    with mock_aws():
        table()
        yield boto3.client("dynamodb", region_name="eu-west-1")


@pytest.fixture
def fake() -> dynamodb.Client:
    return client(Faults(index_lag=0.0))


def client(faults: Faults, **more: Any) -> dynamodb.Client:
    rng = Random(1)
    return dynamodb.Client(dynamodb.Table(**more), Scheduler(rng), Dice(faults, rng))


# --- random operations --------------------------------------------------------------------------


def key(rng: Random) -> dict[str, Any]:
    return {"pk": {"S": rng.choice(PARTITIONS)}, "sk": {"S": rng.choice(SORTS)}}


def value(rng: Random, name: str) -> dict[str, str]:
    """Of the type that the attribute has: moto raises a TypeError of Python's at the other."""
    return {"N": str(rng.randint(-2, 2))} if name == "n" else {"S": rng.choice(TEXTS)}


CONDITIONS = (
    "attribute_exists(#n)",
    "attribute_not_exists(#n)",
    "attribute_not_exists(#n) OR #n = :v",
    "#n = :v",
    "#n < :v",
    "#n >= :v AND attribute_exists(#n)",
    "NOT #n = :v",
    "(#n = :v OR #n > :v) AND attribute_exists(#n)",
    "#n BETWEEN :v AND :v",
    "#n IN (:v, :v)",
)
UPDATES = ("SET #u = :u", "SET #u = :u, #w = :u", "SET #u = :u REMOVE #w", "REMOVE #u, #w")
SAFE_SUMS = ("SET #u = if_not_exists(#u, :u) + :u",)
SUMS = (*SAFE_SUMS, "SET #u = #u - :u")  # of what may not be there
NAMES = ("n", "text", "due", "due_at")


def condition(rng: Random) -> dict[str, Any]:
    if rng.random() < 0.3:
        return {}
    text, name = rng.choice(CONDITIONS), rng.choice(NAMES)
    values = {":v": value(rng, name)} if ":v" in text else {}
    return {
        "ConditionExpression": text,
        "ExpressionAttributeNames": {"#n": name},
        **({"ExpressionAttributeValues": values} if values else {}),
    }


def with_update(rng: Random, request: dict[str, Any], sums_of: tuple[str, ...]) -> dict[str, Any]:
    sums = rng.random() < 0.3
    text = rng.choice(sums_of if sums else UPDATES)
    names = {"#u": "n"} if sums else dict(zip(("#u", "#w"), rng.sample(NAMES[1:], 2), strict=True))
    names = {name: names[name] for name in names if name in text}
    values = {":u": {"N": "1"} if sums else {"S": rng.choice(TEXTS[1:])}} if ":u" in text else {}
    typed = {**request.get("ExpressionAttributeValues", {}), **values}
    return {
        **request,
        "UpdateExpression": text,
        "ExpressionAttributeNames": {**request.get("ExpressionAttributeNames", {}), **names},
        **({"ExpressionAttributeValues": typed} if typed else {}),
    }


def write(rng: Random, sums: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    about = {"TableName": "ecs-watch", **condition(rng)}
    match rng.choice(("Update", "Update", "Put", "Delete", "ConditionCheck")):
        case "Update":
            return "Update", with_update(rng, {**about, "Key": key(rng)}, sums)
        case "Put":
            shown = {"due": {"S": "due"}, "due_at": {"S": rng.choice(TEXTS[1:])}}
            more = shown if rng.random() < 0.5 else {"n": {"N": str(rng.randint(-2, 2))}}
            return "Put", {**about, "Item": {**key(rng), **more}}
        case "ConditionCheck" if "ConditionExpression" in about:
            return "ConditionCheck", {**about, "Key": key(rng)}
    return "Delete", {**about, "Key": key(rng)}


def operation(rng: Random) -> tuple[str, dict[str, Any]]:
    kind = rng.random()
    if kind < 0.4:
        return "transact_write_items", {
            "TransactItems": [dict([write(rng, SAFE_SUMS)]) for _ in range(rng.randint(1, 4))]
        }
    if kind < 0.6:
        name, request = write(rng, SUMS)
        if name == "ConditionCheck":
            return operation(rng)
        returned = {"ReturnValues": rng.choice(("NONE", "ALL_OLD"))}
        return f"{name.lower()}_item", {**request, **returned}
    if kind < 0.7:
        return "get_item", {"TableName": "ecs-watch", "Key": key(rng), "ConsistentRead": True}
    return rng.choice((batch_get, query_partition, query_index))(rng)


def batch_get(rng: Random) -> tuple[str, dict[str, Any]]:
    keys = [key(rng) for _ in range(rng.randint(1, 3))]
    return "batch_get_item", {"RequestItems": {"ecs-watch": {"Keys": keys, "ConsistentRead": True}}}


def query_partition(rng: Random) -> tuple[str, dict[str, Any]]:
    values = {":pk": {"S": rng.choice(PARTITIONS)}, ":prefix": {"S": rng.choice(("s#", "t#", "x"))}}
    return "query", {
        "TableName": "ecs-watch",
        "KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)",
        "ExpressionAttributeValues": values,
        "ConsistentRead": True,
    }


def query_index(rng: Random) -> tuple[str, dict[str, Any]]:
    return "query", {
        "TableName": "ecs-watch",
        "IndexName": "due",
        "KeyConditionExpression": "#due = :due AND due_at <= :now",
        "ExpressionAttributeNames": {"#due": "due"},
        "ExpressionAttributeValues": {
            ":due": {"S": "due"},
            ":now": {"S": rng.choice(TEXTS[1:])},
        },
    }


# --- the same answers ---------------------------------------------------------------------------


def answer(ask: Callable[..., Any], request: dict[str, Any]) -> Any:
    """What came back, without what no program reads: the request's id, counts, an error's words."""
    try:
        response = ask(**request)
    except ClientError as error:
        causes = error.response.get("CancellationReasons", [])
        return error.response["Error"]["Code"], [cause["Code"] for cause in causes]
    items = response.get("Items", response.get("Responses", {}).get("ecs-watch", []))
    found = sorted(items, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))
    return response.get("Item"), response.get("Attributes") or None, found


@pytest.mark.parametrize("seed", range(12))
def test_random_operations_have_the_same_answers(
    moto: Any, fake: dynamodb.Client, seed: int
) -> None:
    rng = Random(seed)
    for _ in range(50):
        name, request = operation(rng)
        assert answer(getattr(fake, name), request) == answer(getattr(moto, name), request), (
            name,
            request,
        )


def test_the_comparison_covers_refusals_and_successes_of_every_operation() -> None:
    rng, fake, answers = Random(0), client(Faults(index_lag=0.0)), set()
    for _ in range(2000):
        name, request = operation(rng)
        first = answer(getattr(fake, name), request)[0]
        answers.add((name, first if isinstance(first, str) else ""))

    writes = {"transact_write_items", "update_item", "put_item", "delete_item"}
    assert {name for name, _ in answers} == {*writes, "get_item", "batch_get_item", "query"}
    assert {name for name, code in answers if code} >= {*writes, "batch_get_item"}
    assert {name for name, code in answers if not code} >= writes


# --- limits and manners -------------------------------------------------------------------------


def put(sk: str, **more: str) -> dict[str, Any]:
    item = {"pk": {"S": "a"}, "sk": {"S": sk}, **{name: {"S": text} for name, text in more.items()}}
    return {"Put": {"TableName": "ecs-watch", "Item": item}}


def rows(fake: dynamodb.Client) -> list[str]:
    return [row["sk"]["S"] for row in fake.table.rows()]


def refused(fake: dynamodb.Client, *items: dict[str, Any], **more: Any) -> Any:
    with pytest.raises(ClientError) as raised:
        fake.transact_write_items(TransactItems=list(items), **more)
    return raised.value.response["Error"]["Code"]


@pytest.mark.parametrize(
    "items",
    [
        [],
        [put(f"s{n}") for n in range(101)],
        [put("same"), put("same", text="other")],
        [put("")],
        [put(f"s{n}", text="x" * 300_000) for n in range(15)],
    ],
    ids=["nothing", "101 items", "one item twice", "an empty key", "more than 4 MB"],
)
def test_a_transaction_that_dynamodb_would_not_take_is_refused(
    fake: dynamodb.Client, items: list[dict[str, Any]]
) -> None:
    assert refused(fake, *items) == "ValidationException"
    assert rows(fake) == []


def test_a_row_that_is_too_large_cancels_the_whole_transaction(fake: dynamodb.Client) -> None:
    assert refused(fake, put("small"), put("large", text="x" * 410_000)) == (
        "TransactionCanceledException"
    )
    assert rows(fake) == []


def test_a_transaction_with_the_same_token_is_done_once(fake: dynamodb.Client) -> None:
    update = {
        "Update": {
            "TableName": "ecs-watch",
            "Key": {"pk": {"S": "a"}, "sk": {"S": "counter"}},
            "UpdateExpression": "SET #n = if_not_exists(#n, :zero) + :one",
            "ExpressionAttributeNames": {"#n": "n"},
            "ExpressionAttributeValues": {":zero": {"N": "0"}, ":one": {"N": "1"}},
        }
    }
    for _ in range(2):
        fake.transact_write_items(TransactItems=[update], ClientRequestToken="token")

    (row,) = fake.table.rows()
    assert row["n"] == {"N": "1"}
    code = "IdempotentParameterMismatchException"
    assert refused(fake, put("other"), ClientRequestToken="token") == code


def test_an_answer_that_is_lost_is_asked_for_again_and_changes_nothing_twice() -> None:
    fake = client(Faults(table_answer_lost=0.5))
    for n in range(40):
        with suppress(ReadTimeoutError):  # all three answers were lost
            fake.transact_write_items(TransactItems=[_once(n)])

    assert len(rows(fake)) == 40


def _once(n: int) -> dict[str, Any]:
    once = put(f"s{n}")
    once["Put"]["ConditionExpression"] = "attribute_not_exists(pk)"
    return once


def test_a_client_that_gives_up_has_written_all_the_same() -> None:
    fake = client(Faults(table_given_up=1.0))
    with pytest.raises(ReadTimeoutError):
        fake.transact_write_items(TransactItems=[put("s")])

    assert rows(fake) == ["s"]


def test_a_conflict_cancels_the_transaction_and_says_so_in_order() -> None:
    fake = client(Faults(table_conflict=1.0))
    with pytest.raises(ClientError) as raised:
        fake.transact_write_items(TransactItems=[put("one"), put("two")])
    causes = raised.value.response["CancellationReasons"]

    assert [cause["Code"] for cause in causes] == ["None", "TransactionConflict"]
    assert rows(fake) == []


def test_a_throttled_batch_comes_back_in_part() -> None:
    fake = client(Faults(table_throttled=0.3))
    keys = [{"pk": {"S": "a"}, "sk": {"S": str(n)}} for n in range(20)]
    left = []
    for _ in range(30):
        try:
            answer = fake.batch_get_item(
                RequestItems={"ecs-watch": {"Keys": keys, "ConsistentRead": True}}
            )
        except ClientError:
            continue
        left += [len(asked["Keys"]) for asked in answer["UnprocessedKeys"].values()]

    assert any(0 < some < 20 for some in left)


def test_the_index_is_behind_and_never_goes_back() -> None:
    clock, lags = [0.0], iter([10.0, 1.0])
    fake = client(Faults(), now=lambda: clock[0], lag=lambda: next(lags))
    fake.transact_write_items(TransactItems=[put("s", due="due", due_at="one")])
    fake.transact_write_items(TransactItems=[put("s", due="due", due_at="two")])
    request = query_index(Random(1))[1]
    request["ExpressionAttributeValues"][":now"] = {"S": "zzz"}
    seen = []
    for clock[0] in (0.5, 1.5, 11.0):
        seen.append([item["due_at"]["S"] for item in fake.query(**request)["Items"]])

    assert seen == [[], ["two"], ["two"]]


def test_a_query_goes_on_behind_the_last_row_of_a_page() -> None:
    fake = client(Faults(), page_bytes=40)
    fake.transact_write_items(TransactItems=[put(f"s#{n}", text="x" * 30) for n in range(7)])
    request = query_partition(Random(1))[1]
    request["ExpressionAttributeValues"] = {":pk": {"S": "a"}, ":prefix": {"S": "s#"}}
    pages = [page["Items"] for page in fake.get_paginator("query").paginate(**request)]

    assert len(pages) > 1
    assert [item["sk"]["S"] for page in pages for item in page] == [f"s#{n}" for n in range(7)]


@pytest.mark.parametrize(
    ("text", "update"),
    [
        ("size(#a) > :n", False),
        ("#a.#b = :n", False),
        ("owner = :n", False),
        ("#a = :n AND", False),
        ("#a :n", False),
        ("ADD #a :n", True),
        ("SET #a = list_append(#a, :n)", True),
        ("SET #a = :n SET #b = :n", True),
        ("", True),
    ],
)
def test_an_expression_that_is_not_known_here_is_an_error_of_ours(text: str, update: bool) -> None:
    with pytest.raises(AssertionError):
        parsed(text, update=update)


def test_an_argument_that_is_not_known_here_is_an_error_of_ours(fake: dynamodb.Client) -> None:
    with pytest.raises(AssertionError, match="FilterExpression"):
        fake.query(FilterExpression="x", **query_index(Random(1))[1])
