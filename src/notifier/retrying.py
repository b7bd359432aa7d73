"""Carries out what `retries` decides: its table, RunTask, and the events that the watcher tells.

Every job is one row. What is about to be done is written down before it is done, so whoever comes
after a function that was killed knows that an attempt may have gone out, and does not repeat it.
What is to be told stands in the row until EventBridge has it.

| pk               | sk           | holds                                                      |
|------------------|--------------|------------------------------------------------------------|
| `job#ID`         | `job`        | the job (`body`), `version`, `saved_by`, `due`, `due_at`   |
| `budget#FAMILY`  | a day in UTC | `used`: attempts                                           |
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from notifier import retries, runbooks
from notifier.arns import partition_of
from notifier.asked import asked
from notifier.errors import Conflict, MalformedEvent, StoreUnavailable
from notifier.events import parse
from notifier.model import ApiCall, Invocation, TaskStateChange
from notifier.retries import Answer, Failed, Job, Phase, Policy
from notifier.store import dynamodb
from notifier.store.dynamodb import Row, key, plain
from notifier.store.rows import from_json, stamp, to_json

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_ssm import SSMClient

logger = logging.getLogger(__name__)

DUE = "due"  # the one partition of the sparse index
NEEDED_FOR_A_JOB = timedelta(seconds=45)  # of the function's time: RunTask twice, and the table
SAVES = 4  # of what an attempt came to, against events that come at the same time
ENTRIES_AT_ONCE = 10  # of one PutEvents
BUDGET_ROWS_LAST = timedelta(days=3)


class OverBudget(Exception):
    """The family has had its attempts for today."""


@dataclass(frozen=True, slots=True)
class Table:
    """The jobs, and how many attempts each family has had today."""

    name: str
    client: "Callable[[], DynamoDBClient]"

    def load(self, job_id: str) -> Job | None:
        """The job as it is now, read consistently; None where there is none."""
        row = self._row(job_id)
        return _job(row) if row else None

    def _row(self, job_id: str) -> Row | None:
        with dynamodb.errors():
            answer = self.client().get_item(
                TableName=self.name, Key=key(f"job#{job_id}", "job"), ConsistentRead=True
            )
        return plain(answer["Item"]) if "Item" in answer else None

    def due(self, now: datetime) -> Sequence[str]:
        """The ids of what is due by now, the longest due first, one page at most."""
        with dynamodb.errors():
            page = self.client().query(
                TableName=self.name,
                IndexName="due",
                KeyConditionExpression="due = :due AND due_at <= :now",
                ExpressionAttributeValues={":due": {"S": DUE}, ":now": {"S": stamp(now)}},
            )
        return [plain(item)["pk"].removeprefix("job#") for item in page["Items"]]

    def save(self, job: Job, now: datetime, token: str, budget: int | None = None) -> Job:
        """Write the job if nobody else has since it was read; with a `budget`, count an attempt.

        Raises Conflict, and OverBudget when the family has had so many today. An answer that is
        lost is asked for: it is ours if the row has our `token`.
        """
        writes = [self._write(job, now, token)]
        if budget is not None:
            writes.append(self._spend(job.family, now, budget))
        try:
            with dynamodb.errors():
                self.client().transact_write_items(TransactItems=writes)
        except (Conflict, StoreUnavailable) as error:
            # Our own write looks like somebody else's when the SDK sent it twice.
            row = self._row(job.id) or {}
            if row.get("saved_by") == token:
                return replace(job, version=job.version + 1)
            is_same = int(row.get("version", 0)) == job.version
            if budget is not None and is_same and isinstance(error, Conflict):
                raise OverBudget(job.family) from error  # nothing else could refuse it
            raise
        return replace(job, version=job.version + 1)

    def _write(self, job: Job, now: datetime, token: str) -> Any:
        due_at = now if job.notices else job.due_at
        changes: Row = {
            "body": to_json(job, without=frozenset({"version"})),
            "version": job.version + 1,
            "saved_by": token,
            "expires_at": int((now + retries.KEEP).timestamp()),
        }
        due = {"due": DUE, "due_at": stamp(due_at)} if due_at else {}
        update = dynamodb.update(
            self.name,
            f"job#{job.id}",
            "job",
            changes | due,
            remove=() if due_at else ("due", "due_at"),
            condition="#version = :was" if job.version else "attribute_not_exists(#pk)",
            values={"was": job.version} if job.version else {},
        )
        return {"Update": update}

    def _spend(self, family: str, now: datetime, budget: int) -> Any:
        """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html"""
        end = int((now + BUDGET_ROWS_LAST).timestamp())
        values = {"none": 0, "one": 1, "budget": budget, "end": end}
        return {
            "Update": {
                "TableName": self.name,
                "Key": key(f"budget#{family}", now.astimezone(UTC).date().isoformat()),
                "UpdateExpression": "SET used = if_not_exists(used, :none) + :one,"
                " expires_at = :end",
                "ConditionExpression": "attribute_not_exists(used) OR used < :budget",
                "ExpressionAttributeValues": {
                    f":{name}": dynamodb.typed(value) for name, value in values.items()
                },
            }
        }


def _job(row: Row) -> Job:
    return replace(from_json(Job, row["body"]), version=int(row["version"]))


@dataclass(frozen=True, slots=True)
class Doors:
    """AWS, as far as it is used: clients that are built when first needed, and do not retry."""

    ecs: "Callable[[], ECSClient]"
    events: "Callable[[], EventBridgeClient]"
    ssm: "Callable[[], SSMClient]"

    def run_task(self, request: Mapping[str, Any]) -> Answer | Failed:
        """RunTask, once."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self.ecs().run_task(**request)
        except ClientError as error:
            said = error.response["Error"]
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return Failed(said.get("Code", ""), said.get("Message", ""), status)
        except BotoCoreError:
            return Failed()
        arns = tuple(str(task.get("taskArn")) for task in answer.get("tasks", ()))
        return Answer(arns, tuple(str(one.get("reason", "")) for one in answer.get("failures", ())))

    def problem(self, request: Mapping[str, Any]) -> str:
        """What the SDK finds wrong with a request: a field that it does not know, a wrong type.

        https://docs.aws.amazon.com/boto3/latest/reference/services/ecs/client/run_task.html
        """
        from botocore.validate import ParamValidator

        shape: Any = self.ecs().meta.service_model.operation_model("RunTask").input_shape
        report = ParamValidator().validate(dict(request), shape)
        # The report quotes values, which may be secrets.
        return "the record has a field that RunTask does not take" if report.has_errors() else ""

    def execution(self, execution_id: str) -> Mapping[str, Any]:
        """A runbook's execution. Raises what boto3 raises: its event then comes back."""
        answer = self.ssm().get_automation_execution(AutomationExecutionId=execution_id)
        return answer["AutomationExecution"]

    def put(self, source: str, detail_type: str, details: Sequence[Mapping[str, Any]]) -> bool:
        """Put these on the default bus; False when any of them is not known to be there.

        https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
        """
        from botocore.exceptions import BotoCoreError, ClientError

        entries: Any = [
            {"Source": source, "DetailType": detail_type, "Detail": json.dumps(detail)}
            for detail in details
        ]
        try:
            return self.events().put_events(Entries=entries)["FailedEntryCount"] == 0
        except (BotoCoreError, ClientError) as error:
            logger.warning("not handed over", extra={"why": str(error)})
            return False


@dataclass(frozen=True, slots=True)
class Retrying:
    """The steps: take in what failed, and do what is due."""

    table: Table
    doors: Doors
    policy: Policy
    runbook: str = ""

    def take_in(self, messages: Sequence[Mapping[str, Any]], run: Invocation) -> Sequence[str]:
        """Save what the queue's messages tell. Returns the ids of those that must come back."""
        return list(self._failed(messages, run))

    def _failed(self, messages: Sequence[Mapping[str, Any]], run: Invocation) -> Iterator[str]:
        for message in messages:
            message_id = str(message["messageId"])
            try:
                self._take_in(str(message["body"]), run)
            except MalformedEvent as error:
                logger.error("malformed event", extra={"message_id": message_id, "why": str(error)})
                yield message_id
            except Exception:
                logger.exception("not taken in", extra={"message_id": message_id})
                yield message_id

    def _take_in(self, body: str, run: Invocation) -> None:
        event = parse(body)
        if isinstance(event, ApiCall):
            self._begin(body, run)
        elif execution_id := runbooks.failed_execution(body, self.runbook):
            self._tell_of_runbook(execution_id)
        elif isinstance(event, TaskStateChange) and (of := retries.attempt_of(event.started_by)):
            self._see(*of, event.task_arn, run)

    def _begin(self, body: str, run: Invocation) -> None:
        """A copy of an event that was taken in before finds its row, and changes nothing."""
        call = asked(body)
        if call is None:
            return
        problem = self.doors.problem(call.request)
        job = retries.begun(call, self.policy, run.now(), run.jitter, problem)
        if isinstance(job, retries.Ignored):
            logger.info("left alone", extra={"call": call.event_id, "why": job.why})
            return
        try:
            saved = self.table.save(job, run.now(), run.unique())
        except Conflict:
            logger.info("known already", extra={"job": job.id})
        else:
            self._tell(saved, run)

    def _tell_of_runbook(self, execution_id: str) -> None:
        execution = self.doors.execution(execution_id)
        account, region = self.policy.account, self.policy.region
        detail = runbooks.event_of(execution, partition_of(region), account, region)
        if not self.doors.put(retries.SOURCE, runbooks.DETAIL_TYPE, [detail]):
            raise StoreUnavailable("EventBridge did not take it")

    def _see(self, job_id: str, attempt: int, task_arn: str, run: Invocation) -> None:
        def settled(job: Job) -> Job:
            return retries.seen(job, attempt, task_arn, run.now())

        self._change(job_id, settled, run)

    def tick(self, run: Invocation) -> None:
        """Do what is due, the longest due first. One job that fails stops no other.

        Raises the first error that nobody foresaw, at the end: the function's alarm tells of it.
        """
        errors: list[Exception] = []
        for job_id in self.table.due(run.now()):
            if run.remaining() < NEEDED_FOR_A_JOB:
                break
            try:
                self._step(job_id, run)
            except (Conflict, StoreUnavailable) as error:
                logger.warning("left to the next tick", extra={"job": job_id, "why": str(error)})
            except Exception as error:
                logger.exception("not done", extra={"job": job_id})
                errors.append(error)
        if errors:
            raise errors[0]

    def _step(self, job_id: str, run: Invocation) -> None:
        job = self.table.load(job_id)
        if job is None:
            return
        if job.notices:
            job = self._tell(job, run)
        if job.due_at is None or job.due_at > run.now():
            return
        match job.phase:
            case Phase.WAITING:
                self._try(job, run)
            case Phase.TRYING:
                self._keep(job, retries.lost(job, run.now()), run)
            case Phase.UNSURE:
                self._keep(job, retries.waited(job, run.now()), run)

    def _try(self, job: Job, run: Invocation) -> None:
        claim = retries.claimed(job, self.policy, run.now())
        if claim.phase is not Phase.TRYING:
            self._keep(job, claim, run)
            return
        try:
            self.table.save(claim, run.now(), run.unique(), budget=self.policy.daily_budget)
        except OverBudget:
            self._keep(job, retries.over_budget(job, run.now()), run)
            return
        outcomes = self._send(retries.request_of(claim, self.policy), run)
        attempt = claim.attempt

        def answered(now: Job) -> Job:
            if now.attempt != attempt or now.phase not in {Phase.TRYING, Phase.UNSURE}:
                return now  # somebody took us for dead
            return retries.answered(now, outcomes, self.policy, run.now(), run.jitter)

        self._change(job.id, answered, run)

    def _send(self, request: Mapping[str, Any], run: Invocation) -> Sequence[Answer | Failed]:
        """Once, and once more with the same token while that cannot start anything twice."""
        self.doors.ecs()  # a client takes a second to build, which is none of the request's
        began = run.now()
        outcomes = [self.doors.run_task(request)]
        last = outcomes[-1]
        if isinstance(last, Failed) and retries.may_resend(last, run.now() - began):
            outcomes.append(self.doors.run_task(request))
        return outcomes

    def _change(self, job_id: str, change: Callable[[Job], Job], run: Invocation) -> None:
        """Load, decide, save; again when somebody else was first, or the table did not answer."""
        for left in reversed(range(SAVES)):
            try:
                job = self.table.load(job_id)
                if job is None:
                    return
                self._keep(job, change(job), run)
            except (Conflict, StoreUnavailable):
                if not left:
                    raise
                run.sleep(run.jitter(timedelta(milliseconds=500)))
            else:
                return

    def _keep(self, before: Job, after: Job, run: Invocation) -> None:
        """Save what changed, and tell it at once. What is not told now is told by the tick."""
        if after == before:
            return
        saved = self.table.save(after, run.now(), run.unique())
        if saved.notices:
            self._tell(saved, run)

    def _tell(self, job: Job, run: Invocation) -> Job:
        """Hand the notices over. Each has an id, so the watcher knows one that comes twice."""
        notices = job.notices[:ENTRIES_AT_ONCE]
        details = [retries.event_of(job, one, self.policy) for one in notices]
        if not self.doors.put(retries.SOURCE, retries.DETAIL_TYPE, details):
            return job
        try:
            return self.table.save(retries.told(job, notices), run.now(), run.unique())
        except (Conflict, StoreUnavailable) as error:
            logger.info("told, and not written down", extra={"job": job.id, "why": str(error)})
            return job
