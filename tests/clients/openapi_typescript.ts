// Uses the types that openapi-typescript makes, by openapi-fetch: `node … http://127.0.0.1:3000`.

import * as assert from 'node:assert/strict';

import createClient from 'openapi-fetch';

import type { components, paths } from './generated';

type NewJob = components['schemas']['NewJob'];

async function main(): Promise<void> {
  const api = createClient<paths>({ baseUrl: process.argv[2] ?? '' });
  const payload = { name: 'Alice', score: 95 };

  // A job is submitted, waited for and looked at.
  const submission: NewJob = { type: 'csv-generation', payload, tags: ['types'], max_attempts: 2 };
  const accepted = await api.POST('/jobs', { body: submission, params: { header: { 'Idempotency-Key': 'openapi-typescript' } } });
  const id = accepted.data?.job_id ?? '';
  const { data: job } = await api.GET('/jobs/{id}', { params: { path: { id }, query: { wait: 20 } } });
  assert.deepEqual([job?.status, job?.type, job?.error], ['completed', 'csv-generation', null]);
  assert.deepEqual(job?.payload, payload);
  assert.deepEqual(job?.history.map(({ event }) => event), ['accepted', 'started', 'completed']);
  const then = await api.GET('/jobs/{id}/events', { params: { path: { id }, query: { at: job?.created_at } } });
  assert.deepEqual([then.data?.status, then.data?.events.length], ['pending', 1]);
  const query = { tag: 'types', status: 'completed,failed', type: 'csv-generation' as const };
  const listed = await api.GET('/jobs', { params: { query } });
  assert.deepEqual(listed.data?.jobs.map(one => one.job_id), [id]);

  // Several at once; one of them is refused, and says why.
  const jobs: components['schemas']['BatchJob'][] = [
    { type: 'csv-generation', payload },
    { type: 'csv-generation', payload, expires_at: '2001-01-01T00:00:00Z' },
  ];
  const batch = await api.POST('/jobs/batch', { body: { jobs } });
  assert.deepEqual([batch.data?.accepted, batch.data?.rejected], [1, 1]);
  assert.deepEqual([batch.data?.jobs[1]?.problem?.code, batch.data?.jobs[1]?.problem?.field], ['invalid_field', 'jobs[1].expires_at']);

  // A schedule, and a job from an event.
  const of = { params: { path: { name: 'types' } } };
  const schedule = await api.PUT('/schedules/{name}', { ...of, body: { cron: '30 9 * * MON-FRI', job: { type: 'csv-generation', payload } } });
  assert.equal(schedule.data?.next_runs.length, 5);
  const schedules = await api.GET('/schedules');
  assert.ok(schedules.data?.schedules.some(one => one.name === 'types'));
  const template = { type: 'csv-generation' as const, payload: { order: '{{data.order}}' } };
  await api.PUT('/subscriptions/{name}', { ...of, body: { event_type: 'types.order', job: template } });
  const published = await api.POST('/events', { body: { type: 'types.order', data: { order: 7 } } });
  const made = await api.GET('/jobs/{id}', { params: { path: { id: published.data?.jobs[0]?.job_id ?? '' }, query: { wait: 20 } } });
  assert.deepEqual(made.data?.payload, { order: 7 });

  // An error's fields.
  const missing = await api.GET('/jobs/{id}', { params: { path: { id: '01938e5c-7a00-7000-8000-000000000000' } } });
  assert.deepEqual([missing.error?.status, missing.error?.code, missing.error?.field], [404, 'not_found', undefined]);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
