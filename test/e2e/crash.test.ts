/**
 * A daemon that is killed (-9) again and again in the midst of load, always on the same store: what clients were told by any of its lives,
 * compared with what the next ones say. `CRASH_ROUNDS` and `CRASH_SEED` in the environment: more rounds, other moments.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { SeededRandom } from '../../src/actors/kernel/seeded-random.ts';
import { CrashLedger } from './crash-ledger.ts';
import { CrashLife } from './crash-life.ts';
import { type Daemon, descendants, ended, startDaemon } from './daemon.ts';

const rounds = Number(process.env['CRASH_ROUNDS'] ?? 10);
const seed = Number(process.env['CRASH_SEED'] ?? 1 + Math.floor(Math.random() * 1_000_000));
const clients = 6;
/** Behind its start, a life is this long at most before it is killed. */
const lifeMs = 1_200;
/** Of a hundred lives, those that are killed before they are ready. */
const youngPercent = 10;

const config = {
	pools: [
		{
			id: 'demo',
			engine: 'scripted',
			model: 'scripted:demo',
			aliases: ['default'],
			slots: 4,
			max_tokens_out: 1_000,
			scripted: { decode_tokens_per_s: 150, tokens: 1_000 },
		},
	],
	tasks: { retention_ms: 86_400_000, retention_count: 100_000 },
};

describe('a daemon that is killed in the midst of its work, again and again', () => {
	const folder = mkdtempSync(join(tmpdir(), 'orchestratord-crash-'));
	after(() => rmSync(folder, { recursive: true, force: true }));

	it(`keeps what any of its ${rounds} lives had told, and ends every accepted task once`, {
		timeout: 30_000 + rounds * 15_000,
	}, async (t) => {
		t.diagnostic(`CRASH_SEED=${seed}`);
		const random = new SeededRandom(seed);
		const ledger = new CrashLedger();
		const start = (more: object = {}): Promise<Daemon> =>
			startDaemon({ config: { ...config, store: { path: folder } }, fronts: 1 + random.below(2), ...more });
		const check = (): void => assert.ok(ledger.verdict === null, `CRASH_SEED=${seed}, ${ledger.verdict}`);
		for (let life = 1; life <= rounds; life += 1) {
			if (random.below(100) < youngPercent) {
				const young = await start({ ready: /"event":/ });
				await new Promise((resolve) => setTimeout(resolve, random.below(300)));
				await kill(young);
				continue;
			}
			const daemon = await start();
			const work = new CrashLife(daemon.url, ledger, random, life);
			const over = Promise.all([work.recall(), work.load(clients)]);
			await new Promise((resolve) => setTimeout(resolve, random.below(lifeMs)));
			await kill(daemon);
			work.end();
			await over;
			check();
		}
		const daemon = await start();
		const last = new CrashLife(daemon.url, ledger, random, rounds + 1);
		last.end();
		await last.recall();
		await last.list();
		for (const told of ledger.open) ledger.fail(told, 'has no end');
		check();
		await daemon.stop();
		const { counts } = ledger;
		t.diagnostic(JSON.stringify({ ...counts, requests: ledger.all.length }));
		assert.ok(counts.ended >= rounds && counts.expired > 0 && counts.cancelled > 0, JSON.stringify(counts));
	});
});

/** With all that it started: no engine outlives it. */
async function kill(daemon: Daemon): Promise<void> {
	const below = descendants(daemon.pid);
	const gone = once(daemon.child, 'exit');
	daemon.child.kill('SIGKILL');
	await gone;
	for (const pid of below) await ended(pid);
	await daemon.stop();
}
