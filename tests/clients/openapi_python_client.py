"""Uses the Python client that openapi-python-client makes: `openapi_python_client.py http://127.0.0.1:3000`."""

import datetime
import sys
import uuid

from dray import Client
from dray.api.events import publish_event, put_subscription
from dray.api.jobs import get_job, get_job_history, list_jobs, submit_batch, submit_job
from dray.api.schedules import list_schedules, put_schedule
from dray.models import (
    BatchResult,
    CsvGenerationBatchJob,
    CsvGenerationJob,
    CsvGenerationScheduledJob,
    CsvObject,
    Job,
    JobHistory,
    JobStatus,
    JobTemplate,
    JobTypeName,
    NewBatch,
    NewEvent,
    NewSchedule,
    NewSubscription,
    Problem,
    ProblemCode,
    PublishedEvent,
    Schedule,
)

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)
rows = CsvObject.from_dict({"name": "Alice", "score": 95})

# A job is submitted, waited for and looked at.
submission = CsvGenerationJob(type_="csv-generation", payload=rows, tags=["attrs"], max_attempts=2)
accepted = submit_job.sync(client=client, body=submission, idempotency_key="openapi-python-client")
job = get_job.sync(accepted.job_id, client=client, wait=20)
assert isinstance(job, Job) and (job.status, job.type_) == (JobStatus.COMPLETED, JobTypeName.CSV_GENERATION), job
assert job.payload == {"name": "Alice", "score": 95} and job.error is None and job.cost.write_units > 0
assert [event.event for event in job.history] == ["accepted", "started", "completed"]
then = get_job_history.sync(job.job_id, client=client, at=job.created_at)
assert isinstance(then, JobHistory) and then.status == JobStatus.PENDING and len(then.events) == 1
listed = list_jobs.sync(client=client, tag="attrs", status="completed,failed", type_=JobTypeName.CSV_GENERATION)
assert [one.job_id for one in listed.jobs] == [job.job_id] and listed.next_cursor is None

# Several at once; one of them is refused, and says why.
good = CsvGenerationBatchJob(type_="csv-generation", payload=rows)
past = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)
late = CsvGenerationBatchJob(type_="csv-generation", payload=rows, expires_at=past)
batch = submit_batch.sync(client=client, body=NewBatch(jobs=[good, late]))
assert isinstance(batch, BatchResult) and (batch.accepted, batch.rejected) == (1, 1)
assert batch.jobs[1].problem.code == ProblemCode.INVALID_FIELD and batch.jobs[1].problem.field == "jobs[1].expires_at"

# A schedule, and a job from an event.
job_of_runs = CsvGenerationScheduledJob(type_="csv-generation", payload=rows)
schedule = put_schedule.sync("attrs", client=client, body=NewSchedule(cron="30 9 * * MON-FRI", job=job_of_runs))
assert isinstance(schedule, Schedule) and len(schedule.next_runs) == 5 and not schedule.last_run
assert "attrs" in [one.name for one in list_schedules.sync(client=client).schedules]
template = JobTemplate(type_=JobTypeName.CSV_GENERATION, payload={"order": "{{data.order}}"})
put_subscription.sync("attrs", client=client, body=NewSubscription(event_type="attrs.order", job=template))
published = publish_event.sync(client=client, body=NewEvent(type_="attrs.order", data={"order": 7}))
assert isinstance(published, PublishedEvent) and published.failed == []
assert get_job.sync(published.jobs[0].job_id, client=client, wait=20).payload == {"order": 7}

# An error's fields.
missing = get_job.sync(uuid.UUID("01938e5c-7a00-7000-8000-000000000000"), client=client)
assert isinstance(missing, Problem) and (missing.status, missing.code) == (404, ProblemCode.NOT_FOUND), missing
assert not missing.field
