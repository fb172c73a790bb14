"""Uses the Python client that openapi-generator makes: `openapi_generator_python.py http://127.0.0.1:3000`."""

import sys

import dray
from dray import (
    BatchJob,
    CsvGenerationBatchJob,
    CsvGenerationJob,
    CsvGenerationPayload,
    CsvGenerationScheduledJob,
    CsvRows,
    EmailSendJob,
    EmailSendPayload,
    EmailSendPayloadTo,
    JobStatus,
    JobTemplate,
    JobTypeName,
    NewBatch,
    NewEvent,
    NewJob,
    NewSchedule,
    NewSubscription,
    ProblemCode,
    ScheduledJob,
)

configuration = dray.Configuration(host=sys.argv[1])
# In a query its own format would end with +0000, which RFC 3339 does not have.
configuration.datetime_format = "%Y-%m-%dT%H:%M:%S.%fZ"
client = dray.ApiClient(configuration)
jobs, schedules, events = dray.JobsApi(client), dray.SchedulesApi(client), dray.EventsApi(client)
rows = CsvGenerationPayload(CsvRows({"name": "Alice", "score": 95}))

# A job is submitted, waited for and looked at.
submission = CsvGenerationJob(type="csv-generation", payload=rows, tags=["python"], max_attempts=2)
accepted = jobs.submit_job(NewJob(submission), idempotency_key="openapi-generator-python")
assert accepted.status == JobStatus.PENDING
job = jobs.get_job(accepted.job_id, wait=20)
assert (job.status, job.type) == (JobStatus.COMPLETED, JobTypeName.CSV_MINUS_GENERATION), job
assert job.payload == {"name": "Alice", "score": 95} and job.error is None and job.cost.write_units > 0
assert [event.event.value for event in job.history] == ["accepted", "started", "completed"]
assert len(jobs.get_job_history(job.job_id).events) == 3
assert jobs.get_job_history(job.job_id, at=job.created_at).status == JobStatus.PENDING
email = EmailSendPayload(to=EmailSendPayloadTo(["ada@example.com"]), subject="Hello", body="Dear Ada")
jobs.submit_job(NewJob(EmailSendJob(type="email-send", payload=email)))
listed = jobs.list_jobs(tag="python", status="completed,failed", type=JobTypeName.CSV_MINUS_GENERATION)
assert [one.job_id for one in listed.jobs] == [job.job_id] and listed.next_cursor is None

# Several at once; one of them is refused, and says why.
good = CsvGenerationBatchJob(type="csv-generation", payload=rows)
late = CsvGenerationBatchJob(type="csv-generation", payload=rows, expires_at="2001-01-01T00:00:00Z")
batch = jobs.submit_batch(NewBatch(jobs=[BatchJob(good), BatchJob(late)]))
assert (batch.accepted, batch.rejected) == (1, 1)
assert batch.jobs[1].problem.code == ProblemCode.INVALID_FIELD and batch.jobs[1].problem.var_field == "jobs[1].expires_at"

# A schedule, and a job from an event.
job_of_runs = ScheduledJob(CsvGenerationScheduledJob(type="csv-generation", payload=rows))
schedule = schedules.put_schedule("python", NewSchedule(cron="30 9 * * MON-FRI", job=job_of_runs))
assert len(schedule.next_runs) == 5 and schedule.last_run is None
assert "python" in [one.name for one in schedules.list_schedules().schedules]
template = JobTemplate(type=JobTypeName.CSV_MINUS_GENERATION, payload={"order": "{{data.order}}"})
events.put_subscription("python", NewSubscription(event_type="python.order", job=template))
published = events.publish_event(NewEvent(type="python.order", data={"order": 7}))
assert jobs.get_job(published.jobs[0].job_id, wait=20).payload == {"order": 7} and published.failed == []

# An error's fields.
try:
    jobs.get_job("01938e5c-7a00-7000-8000-000000000000")
    raise AssertionError("there is no such job")
except dray.ApiException as error:
    assert (error.status, error.data.code, error.data.var_field) == (404, ProblemCode.NOT_FOUND, None), error.data
assert dray.ServiceApi(client).get_health().status.value == "ok"
