/** kill -9 in the middle of writing artifacts, and what of them the next daemon has. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { artifactListSchema, artifactSchema } from '../../src/transport/api/artifact-schemas.ts';
import { json } from '../transport/published-answers.ts';
import { type Daemon, startDaemon } from './daemon.ts';

const idOf = (content: string): string => `sha256:${createHash('sha256').update(content).digest('hex')}`;
const pools = [{ id: 'demo', engine: 'scripted', model: 'scripted:demo' }];

describe('a daemon that is killed while it writes artifacts', () => {
	const folder = mkdtempSync(join(tmpdir(), 'orchestratord-killed-'));
	after(() => rmSync(folder, { recursive: true, force: true }));

	it('has each one that it had said was kept, whole, and no part of any other', async () => {
		const store = join(folder, 'store');
		const start = async (): Promise<Daemon> => await startDaemon({ config: { pools, store: { path: store } } });
		const kept = new Set<string>();
		const sent = new Map<string, string>();
		let unanswered = 0;
		for (const round of [1, 2, 3]) {
			const { child, url, stop } = await start();
			const gone = once(child, 'exit');
			let answers = 0;
			const write = async (writer: number): Promise<void> => {
				for (let n = 0; ; n++) {
					const content = `${round}.${writer}.${n} `.repeat(20_000);
					sent.set(idOf(content), content);
					const response = await fetch(`${url}/v2/artifacts`, {
						method: 'POST',
						headers: { 'content-type': 'application/json' },
						body: JSON.stringify({ kind: 'other', content }),
					});
					assert.equal(response.status, 201);
					kept.add(((await response.json()) as { id: string }).id);
					// In the middle of what the others write.
					if (++answers === 10 * round) child.kill('SIGKILL');
				}
			};
			unanswered += (await Promise.allSettled([1, 2, 3, 4].map(write))).length;
			await gone;
			await stop();
		}
		const daemon = await start();
		const listed = new Set<string>();
		for (let cursor: string | null = ''; cursor !== null; ) {
			const page: Record<string, unknown> = await json(
				await fetch(`${daemon.url}/v2/artifacts?limit=7${cursor === '' ? '' : `&cursor=${cursor}`}`),
				200,
				artifactListSchema,
			);
			for (const { id } of page['artifacts'] as { id: string }[]) listed.add(id);
			cursor = page['next_cursor'] as string | null;
		}
		for (const id of kept) assert.ok(listed.has(id), `${id} was acknowledged, and is gone`);
		assert.ok(listed.size <= kept.size + unanswered);
		for (const id of listed) {
			const { content } = await json(await fetch(`${daemon.url}/v2/artifacts/${id}`), 200, artifactSchema);
			assert.equal(content, sent.get(id));
		}
		await daemon.stop();
		const root = join(store, 'artifacts');
		assert.deepEqual(readdirSync(join(root, 'unfinished')), []);
		for (const id of listed) assert.ok(existsSync(join(root, id.slice(7, 9), id.slice(7))));
	});
});
