/**
 * The command line against a real daemon, as a person and as a script use it: what reaches stdout, what Ctrl-C does, and
 * which exit code comes back.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { checkOrder, submit, Watch } from './client.ts';
import { binary, type Daemon, freePort, startDaemon } from './daemon.ts';

interface Ran {
	readonly code: number | null;
	readonly out: string;
	readonly err: string;
}

/** Runs the command; `onOut` sees stdout as it grows and may signal the child. */
async function command(
	argv: readonly string[],
	options: { input?: string; onOut?: (out: string, child: { kill(signal: 'SIGINT'): unknown }) => void } = {},
): Promise<Ran> {
	const child = spawn(process.execPath, [binary, ...argv], { stdio: ['pipe', 'pipe', 'pipe'] });
	let out = '';
	let err = '';
	child.stdout.setEncoding('utf8').on('data', (text: string) => {
		out += text;
		options.onOut?.(out, child);
	});
	child.stderr.setEncoding('utf8').on('data', (text: string) => {
		err += text;
	});
	child.stdin.end(options.input ?? '');
	await once(child, 'close');
	return { code: child.exitCode, out, err };
}

describe('the command line', () => {
	let daemon: Daemon;
	before(async () => {
		daemon = await startDaemon({
			config: {
				pools: [
					{
						id: 'demo',
						engine: 'scripted',
						model: 'scripted:demo',
						aliases: ['default'],
						slots: 1,
						scripted: { decode_tokens_per_s: 200, tokens: 8 },
					},
					{ id: 'slow', engine: 'scripted', model: 'scripted:slow', slots: 1, scripted: { decode_tokens_per_s: 20, tokens: 1000 } },
				],
			},
		});
	});
	after(async () => {
		assert.equal(await daemon.stop(), 0);
	});

	it('streams the text of a task to stdout, and nothing else', async () => {
		const whole = await command(['run', '--url', daemon.url, '--seed', '1', 'Hello', 'there']);
		assert.deepEqual([whole.code, whole.err], [0, '']);
		assert.match(whole.out, /\S+ \S+.*\n$/);
		const again = await command(['run', '--url', daemon.url, '--seed', '1', '-'], { input: 'Hello there' });
		assert.equal(again.out, whole.out);
	});

	it('prints events as JSON lines that tell the same text', async () => {
		const lines = (await command(['run', '--url', daemon.url, '--seed', '1', '--json', 'Hello there'])).out.trimEnd().split('\n');
		const events = lines.map((line) => JSON.parse(line) as { event: string; seq: number | null; data: { t?: string } });
		assert.deepEqual([events[0]?.event, events.at(-1)?.event], ['accepted', 'end']);
		const text = events.map(({ event, data }) => (event === 'token' ? (data.t ?? '') : '')).join('');
		assert.equal(`${text.trimEnd()}\n`, (await command(['run', '--url', daemon.url, '--seed', '1', 'Hello there'])).out);
	});

	it('cancels its task on Ctrl-C and exits with 130', async () => {
		let interrupted = false;
		const ran = await command(['run', '--url', daemon.url, '--model', 'scripted:slow', 'x'], {
			onOut: (_out, child) => {
				if (!interrupted) child.kill('SIGINT');
				interrupted = true;
			},
		});
		assert.equal(ran.code, 130);
		const listed = await command(['tasks', '--url', daemon.url, '--pool', 'slow', '--json']);
		assert.equal((JSON.parse(listed.out.split('\n')[0] ?? '') as { state: string }).state, 'canceled');
	});

	it('lists and cancels tasks that others have submitted', async () => {
		const { task_id: id } = (await (
			await fetch(`${daemon.url}/v2/tasks`, { method: 'POST', body: '{"model_ref":"scripted:slow","prompt":"x"}' })
		).json()) as { task_id: string };
		assert.match(
			(await command(['tasks', '--url', daemon.url])).out,
			new RegExp(`^TASK .*\\n${id} +(queued|running) +scripted:slow +slow`),
		);
		assert.deepEqual(await command(['cancel', '--url', daemon.url, id]), { code: 0, out: `${id} canceled\n`, err: '' });
		assert.equal((await command(['cancel', '--url', daemon.url, '01890a5d-ac96-774b-bcce-b302099a8057'])).code, 1);
	});

	it('watches tasks as they change until Ctrl-C', async () => {
		await command(['run', '--url', daemon.url, 'x']);
		let submitted: Promise<Response> | null = null;
		const ran = await command(['tasks', '--watch', '--pool', 'demo', '--json', '--url', daemon.url], {
			onOut: (out, child) => {
				const body = '{"model_ref":"default","prompt":"y","output_mode":"watched"}';
				submitted ??= fetch(`${daemon.url}/v2/tasks`, { method: 'POST', body });
				if (/"state":"done".*"output_mode":"watched"/.test(out)) child.kill('SIGINT');
			},
		});
		assert.equal(ran.code, 130, ran.err);
		const last = JSON.parse(ran.out.trimEnd().split('\n').at(-1) ?? '') as Record<string, unknown>;
		assert.deepEqual([last['output_mode'], last['tokens_out']], ['watched', 8]);
	});

	it('empties, restarts and reopens a pool, and says how it is afterwards', async () => {
		const pools = async (...argv: string[]): Promise<unknown> => {
			const ran = await command(['pools', ...argv, '--json', '--url', daemon.url]);
			assert.equal(ran.code, 0, ran.err);
			return JSON.parse(ran.out);
		};
		assert.deepEqual(await pools('drain', 'demo', '--deadline-ms', '0'), { pool_id: 'demo', draining: true, deadline_ms: 0 });
		assert.deepEqual(await pools('undrain', 'demo'), { pool_id: 'demo', draining: false });
		const { state, model } = (await pools('purge', 'demo', '--model', 'scripted:demo')) as Record<string, unknown>;
		assert.deepEqual([state, model], ['ready', 'scripted:demo']);
		const refused = await command(['pools', 'purge', 'demo', '--model', 'scripted:other', '--url', daemon.url]);
		assert.equal(refused.code, 1);
		assert.match(refused.err, /scripted:other.*\[NOT_FOUND\]/);
	});

	it('restarts a pool by force under a running task, which goes on with the new engine', async () => {
		const { task_id: id } = await submit(daemon.url, { model_ref: 'scripted:slow', prompt: 'x' });
		const watch = await Watch.open(daemon.url, id);
		const seen = [...(await watch.until('token'))];
		const refused = await command(['pools', 'purge', 'slow', '--no-drain', '--url', daemon.url]);
		assert.deepEqual([refused.code, refused.out], [1, ''], refused.err);
		assert.match(refused.err, /1 tasks run in slow; drain_first waits for them, force does not.*\[CONFLICT\]/);
		const forced = await command(['pools', 'purge', 'slow', '--force', '--json', '--url', daemon.url]);
		assert.equal(forced.code, 0, forced.err);
		assert.equal((JSON.parse(forced.out) as Record<string, unknown>)['state'], 'ready');
		const moved = (): boolean => seen.some(({ name, data }) => name === 'metrics' && data['phase'] === 'migrated');
		while (!moved()) seen.push(...(await watch.until('token')));
		await fetch(`${daemon.url}/v2/tasks/${id}`, { method: 'DELETE' });
		seen.push(...(await watch.all()));
		checkOrder(seen);
		assert.deepEqual([seen.at(-1)?.name, seen.at(-1)?.data['finish_reason']], ['end', 'canceled']);
	});

	it('says what a daemon refuses, in its words', async () => {
		const unknown = await command(['run', '--url', daemon.url, '--model', 'nothing', 'x']);
		assert.equal(unknown.code, 1);
		assert.match(unknown.err, /^error: .*nothing.* \[NOT_FOUND\]/);
	});

	it('says that the port is taken, by a daemon or by another program, and serves nothing', async () => {
		const other = createServer().listen(0, '127.0.0.1');
		await once(other, 'listening');
		const address = other.address();
		assert.ok(typeof address === 'object' && address !== null);
		for (const port of [daemon.port, address.port]) {
			const ran = await command(['serve', '--addr', `127.0.0.1:${port}`]);
			assert.equal(ran.code, 69);
			assert.match(ran.err, new RegExp(`error: 127\\.0\\.0\\.1:${port} is in use`));
			assert.doesNotMatch(ran.out + ran.err, /"level":"(warn|error)"/);
		}
		other.close();
	});

	it('says that another daemon has the store, and what to set', async () => {
		const path = daemon.storePath;
		const ran = await command(['serve', '--addr', `127.0.0.1:${await freePort()}`, '--store.path', path]);
		assert.equal(ran.code, 69);
		assert.ok(ran.err.includes(`error: the store in ${path} is in use by another orchestratord`), ran.err);
		assert.match(ran.err, /--store\.path FOLDER/);
		assert.doesNotMatch(ran.out + ran.err, /"level":"(warn|error)"/);
	});

	it('says when nothing answers', async () => {
		const ran = await command(['run', '--url', `http://127.0.0.1:${await freePort()}`, 'x']);
		assert.deepEqual([ran.code, ran.out], [69, '']);
		assert.match(ran.err, /^error: nothing answers on .*\n.*npm start/);
	});
});
