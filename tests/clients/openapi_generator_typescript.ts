// Uses the client that openapi-generator makes for TypeScript and fetch: `node … http://127.0.0.1:3000`.

import * as assert from 'node:assert/strict';

import {
  Configuration, EventKind, EventsApi, JobStatus, JobTypeName, JobsApi, ProblemCode, ProblemFromJSON, ResponseError,
  SchedulesApi, ServiceApi, StatusSummary,
} from './generated';

async function main(): Promise<void> {
  const configuration = new Configuration({ basePath: process.argv[2] });
  const jobs = new JobsApi(configuration);
  const schedules = new SchedulesApi(configuration);
  const events = new EventsApi(configuration);
  const payload = { name: 'Alice', score: 95 };

  // A job is submitted, waited for and looked at.
  const { jobId } = await jobs.submitJob({
    newJob: { type: 'csv-generation', payload, tags: new Set(['fetch']), maxAttempts: 2 },
    idempotencyKey: 'openapi-generator-typescript',
  });
  const job = await jobs.getJob({ id: jobId, wait: 20 });
  assert.deepEqual([job.status, job.type, job.error], [JobStatus.Completed, JobTypeName.CsvGeneration, null]);
  assert.deepEqual(job.payload, payload);
  assert.deepEqual(job.history.map(({ event }) => event), [EventKind.Accepted, EventKind.Started, EventKind.Completed]);
  const then = await jobs.getJobHistory({ id: jobId, at: job.createdAt });
  assert.deepEqual([then.status, then.events.length], [JobStatus.Pending, 1]);
  await jobs.submitJob({ newJob: { type: 'email-send', payload: { to: ['ada@example.com'], subject: 'Hello', body: 'Dear Ada' } } });
  const listed = await jobs.listJobs({ tag: 'fetch', status: 'completed,failed', type: JobTypeName.CsvGeneration });
  assert.deepEqual(listed.jobs.map(one => one.jobId), [jobId]);

  // Several at once; one of them is refused, and says why.
  const batch = await jobs.submitBatch({ newBatch: { jobs: [
    { type: 'csv-generation', payload },
    { type: 'csv-generation', payload, expiresAt: new Date('2001-01-01T00:00:00Z') },
  ] } });
  assert.deepEqual([batch.accepted, batch.rejected], [1, 1]);
  assert.deepEqual([batch.jobs[1]?.problem?.code, batch.jobs[1]?.problem?.field], [ProblemCode.InvalidField, 'jobs[1].expires_at']);

  // A schedule, and a job from an event.
  const newSchedule = { cron: '30 9 * * MON-FRI', job: { type: 'csv-generation' as const, payload } };
  const schedule = await schedules.putSchedule({ name: 'fetch', newSchedule });
  assert.deepEqual([schedule.nextRuns.length, schedule.lastRun], [5, undefined]);
  assert.ok((await schedules.listSchedules()).schedules.some(one => one.name === 'fetch'));
  const template = { type: JobTypeName.CsvGeneration, payload: { order: '{{data.order}}' } };
  await events.putSubscription({ name: 'fetch', newSubscription: { eventType: 'fetch.order', job: template } });
  const published = await events.publishEvent({ newEvent: { type: 'fetch.order', data: { order: 7 } } });
  const made = await jobs.getJob({ id: published.jobs[0]?.jobId ?? '', wait: 20 });
  assert.deepEqual(made.payload, { order: 7 });

  // An error's fields.
  const error = await jobs.getJob({ id: '01938e5c-7a00-7000-8000-000000000000' }).catch((error: unknown) => error);
  assert.ok(error instanceof ResponseError);
  const problem = ProblemFromJSON(await error.response.json());
  assert.deepEqual([problem.status, problem.code, problem.field], [404, ProblemCode.NotFound, undefined]);
  assert.equal((await new ServiceApi(configuration).getHealth()).status, StatusSummary.Ok);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
