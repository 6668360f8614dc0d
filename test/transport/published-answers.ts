/** Answers as the published schemas promise them: a status, a body that fits, an envelope that carries its correlation id. */
import assert from 'node:assert/strict';
import type { TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { envelopeSchema } from '../../src/transport/api/response-schemas.ts';

export async function json(response: Response, status: number, schema: TSchema): Promise<Record<string, unknown>> {
	const value = (await response.json()) as Record<string, unknown>;
	assert.equal(response.status, status, JSON.stringify(value));
	const problem = [...Value.Errors(schema, value)][0];
	assert.equal(problem, undefined, `${problem?.path} ${problem?.message}: ${JSON.stringify(value)}`);
	return value;
}

export async function refused(response: Response, status: number, code: string): Promise<Record<string, unknown>> {
	const envelope = await json(response, status, envelopeSchema);
	assert.equal(envelope['code'], code);
	assert.equal(envelope['correlation_id'], response.headers.get('x-correlation-id'));
	return envelope;
}
