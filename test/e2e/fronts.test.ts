/** A whole daemon with two front threads on one port: both serve, each alone, through losses and to the end. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { loadConfig } from '../../src/config.ts';
import { startDaemon as startInside } from '../../src/daemon.ts';
import { checkOrder, type SeenEvent, submit, textOf, Watch } from './client.ts';
import { type Daemon, descendants, ended, isAlive, startDaemon } from './daemon.ts';
import { FrontConnection, frontOf } from './front-connection.ts';

const pool = {
	id: 'demo',
	engine: 'scripted',
	model: 'scripted:demo',
	aliases: ['default'],
	slots: 4,
	ctx: 8192,
	max_tokens_out: 8000,
	scripted: { prefill_tokens_per_s: 1_000_000, decode_tokens_per_s: 400, tokens: 8000 },
};
/** Longer than any test. */
const endless = { max_tokens: 8000 };
const task = { model_ref: 'default', prompt: 'a fox on two fronts', seed: 1, max_tokens: 60 };

/** A task that was submitted, and is watched, on one front. */
interface Stream {
	readonly taskId: string;
	readonly watch: Watch;
}

async function streamOn(url: string, front: number, more: Readonly<Record<string, unknown>> = {}): Promise<Stream> {
	const connection = await FrontConnection.open(url, front);
	const { task_id: taskId } = await submit(connection, { ...task, ...more });
	assert.equal(frontOf(taskId), front);
	return { taskId, watch: await Watch.open(connection, taskId) };
}

/** Reads on, and checks that nothing is missing. */
async function finished({ watch }: Stream, begun: readonly SeenEvent[] = []): Promise<readonly SeenEvent[]> {
	const seen = [...begun, ...(await watch.all())];
	checkOrder(seen);
	assert.equal(seen.at(-1)?.name, 'end');
	return seen;
}

/** Values by series. */
async function scrape(connection: FrontConnection): Promise<ReadonlyMap<string, number>> {
	const lines = (await (await connection.request('/metrics')).text()).split('\n').filter((line) => !line.startsWith('#'));
	return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
}

function tokensOut(values: ReadonlyMap<string, number>): number {
	return [...values].reduce((sum, [series, value]) => (series.startsWith('tokens_out_total{') ? sum + value : sum), 0);
}

describe('two front threads', () => {
	let daemon: Daemon;
	before(async () => {
		daemon = await startDaemon({ config: { pools: [pool] }, fronts: 2, withCrashes: true });
	});
	after(() => daemon.stop());

	it('are told in the banner, and serve side by side, each with ids that name it', async () => {
		assert.match(daemon.output(), /threads {2}main, 2 fronts, 1 control, 1 engine/);
		const streams = await Promise.all([0, 1, 0, 1].map((front) => streamOn(daemon.url, front)));
		const seen = await Promise.all(streams.map((stream) => finished(stream)));
		assert.equal(new Set(seen.map(textOf)).size, 1);
	});

	it('have a WebSocket each', async () => {
		for (const front of [0, 1]) {
			const { agent } = await FrontConnection.open(daemon.url, front);
			const socket = new WebSocket(`${daemon.url.replace('http', 'ws')}/v2/ws`, 'orchestratord.v2', { agent });
			await once(socket, 'open');
			socket.send(JSON.stringify({ op: 'submit', ref: 'a', task: { ...task, max_tokens: 1 } }));
			const [message] = (await once(socket, 'message')) as [Buffer];
			assert.equal(frontOf((JSON.parse(message.toString()) as { task_id: string }).task_id), front);
			socket.close();
			await once(socket, 'close');
		}
	});

	it('tell the readiness and the metrics of the whole daemon on either, and what pools tell once', async () => {
		const connections = await Promise.all([0, 1].map((front) => FrontConnection.open(daemon.url, front)));
		const streams = await Promise.all([0, 1].map((front) => streamOn(daemon.url, front, endless)));
		await Promise.all(streams.map(({ watch }) => watch.until('token')));
		for (const connection of connections) {
			assert.equal((await connection.request('/ready')).status, 200);
			const ofReplica = 'pool_id="demo",replica_id="demo-0"';
			let values = await scrape(connection);
			const busyNow = (): number => values.get(`slots{${ofReplica},state="busy"}`) ?? 0;
			// Told now and then.
			for (const deadline = performance.now() + 10_000; busyNow() !== 2 && performance.now() < deadline; )
				values = await scrape(connection);
			const busy = busyNow();
			assert.equal(busy + (values.get(`slots{${ofReplica},state="free"}`) ?? 0), 4);
			assert.equal(busy, 2);
			assert.equal(values.get(`replica_state{${ofReplica},state="ready"}`), 1);
			assert.equal(values.get('model_state{model_id="scripted:demo",state="Active"}'), 1);
			assert.equal(values.get('sse_watchers'), 2);
			const usage = values.get(`kv_cache_usage_ratio{engine="scripted",engine_version="scripted-1",${ofReplica}}`) ?? 0;
			assert.ok(usage > 0 && usage <= 1, `${usage}`);
			for (const front of [0, 1]) assert.ok((values.get(`actors{thread="front-${front}"}`) ?? 0) >= 1);
		}
		for (const [index, connection] of connections.entries()) {
			await connection.request(`/v2/tasks/${streams[index]?.taskId}`, { method: 'DELETE' });
			connection.close();
		}
		await Promise.all(streams.map(({ watch }) => watch.until('end')));
	});

	for (const lost of [1, 0]) {
		it(`go on when front ${lost} is lost: the other's streams do not notice, and it comes back on the port`, async () => {
			const staying = await streamOn(daemon.url, 1 - lost);
			const leaving = await streamOn(daemon.url, lost, endless);
			const begun = await Promise.all([staying.watch.until('token'), leaving.watch.until('token')]);
			const observer = await FrontConnection.open(daemon.url, 1 - lost);
			const before = tokensOut(await scrape(observer));
			assert.ok(before > 0);
			const back = daemon.crashFront(lost);
			await assert.rejects(leaving.watch.all());
			await finished(staying, begun[0]);
			await back;
			assert.ok(tokensOut(await scrape(observer)) >= before, 'what a lost front has counted is kept');
			observer.close();
			await finished(await streamOn(daemon.url, lost, { max_tokens: 5 }));
		});
	}

	it('end together: the one without tasks serves until the other has none, and then all is over', async () => {
		const owner = await FrontConnection.open(daemon.url, 0);
		const running = await streamOn(daemon.url, 0, endless);
		const begun = await running.watch.until('token');
		const idle = await FrontConnection.open(daemon.url, 1);
		const stopped = daemon.stop();
		await daemon.said(/"event":"daemon-stopping"/);
		// Main has asked them by now, or is about to.
		let status = 0;
		for (const deadline = performance.now() + 5_000; status !== 503 && performance.now() < deadline; ) {
			const answer = await idle.request('/ready');
			await answer.arrayBuffer();
			({ status } = answer);
		}
		assert.equal(status, 503);
		await assert.rejects(submit(idle, task), /503/);
		const newcomer = await fetch(`${daemon.url}/health`);
		assert.equal(newcomer.status, 200);
		await newcomer.arrayBuffer();
		assert.equal((await owner.request(`/v2/tasks/${running.taskId}`, { method: 'DELETE' })).status, 204);
		await finished(running, begun);
		for (const connection of [owner, idle]) connection.close();
		assert.equal(await stopped, 0);
	});
});

describe('several front threads', () => {
	it('have the port that the first one found, and nobody else may share it', async () => {
		const flags = [
			'--addr=127.0.0.1:0',
			'--threads.front=2',
			'--listen.host=auto',
			'--log-level=error',
			'--model=scripted:demo',
			'--pools.default.engine=scripted',
		];
		const store = mkdtempSync(join(tmpdir(), 'orchestratord-fronts-'));
		const daemon = await startInside(loadConfig(flags), () => {});
		try {
			assert.equal((await daemon.settled()).threads.front, 2);
			for (const front of [0, 1]) (await FrontConnection.open(daemon.url, front)).close();
			const taken = loadConfig([...flags, `--addr=${new URL(daemon.url).host}`, `--store.path=${store}`]);
			await assert.rejects(
				startInside(taken, () => {}),
				/is in use by another program/,
			);
			assert.equal((await fetch(`${daemon.url}/health`)).status, 200);
		} finally {
			await daemon.stop(100);
			rmSync(store, { recursive: true });
		}
	});

	it('are refused over a server that cannot share a port, in words', async () => {
		const options = { args: ['--threads.front', '2', '--listen.host', 'node'] };
		await assert.rejects(startDaemon(options), /ended \(78\)[^]*threads\.front is 2, but listen\.host is node/);
	});

	it('tell the parent of their tasks, one that came back too', async () => {
		const daemon = await startDaemon({ config: { pools: [pool] }, fronts: 2, withCrashes: true, supervise: true });
		await daemon.crashFront(0);
		const taskIds = await Promise.all([0, 1].map(async (front) => (await streamOn(daemon.url, front, endless)).taskId));
		const [inner = 0, ...below] = descendants(daemon.pid);
		process.kill(inner, 'SIGKILL');
		await daemon.said(/tasks were lost: .*\n/);
		const said = /tasks were lost: (.*)\n/.exec(daemon.output())?.[1] ?? '';
		for (const taskId of taskIds) assert.ok(said.includes(taskId), `${taskId} in ${said}`);
		await daemon.stop();
		for (const pid of below.filter(isAlive)) await ended(pid);
	});
});
