/**
 * Every curl command of the documents, taken from them word for word, against real daemons: the plain ones over HTTP/1.1 on uWebSockets.js, and again
 * over HTTP/2 on node's server; those with TLS with a certificate of our own. A command that is new in a document fails until it stands here.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { firstPair } from '../fixtures/certificates.ts';
import { type Daemon, repository, startDaemon } from './daemon.ts';

interface Command {
	readonly file: string;
	/** Over lines, where it is continued. */
	readonly text: string;
}

/** What a command is answered with. */
interface Known {
	readonly is: RegExp;
	readonly status: number;
	readonly holds: RegExp;
	/** What it is about is a task that still runs. */
	readonly running?: true;
}

const known: readonly Known[] = [
	{ is: /v2\/tasks -d '\{"model_ref":"default","prompt":"Tell/, status: 202, holds: /"task_id":"[0-9a-f-]{36}"/ },
	{
		is: /-N localhost:8080\/v2\/tasks\/ID\/events {2}/,
		status: 200,
		holds: /^id: 1\nevent: started\n[^]*\nevent: token\n[^]*\nevent: end\n/,
	},
	{ is: /Last-Event-ID: 2/, status: 200, holds: /^id: 3\nevent: token\n[^]*\nevent: end\n/ },
	{ is: /ID\/result/, status: 200, holds: /"text":/ },
	{ is: /-X POST localhost:8080\/v2\/tasks\/ID\/cancel/, status: 204, holds: /^$/, running: true },
	{ is: /v2\/tasks\/ID {2}/, status: 200, holds: /"state":"done"/ },
	{ is: /8080\/metrics/, status: 200, holds: /^# HELP [^]*\ntasks_started_total\{/m },
	{ is: /Accept: text\/event-stream/, status: 200, holds: /event: started\n[^]*event: end\n/ },
	{ is: /chat\/completions -d .*[^e]\}'$/, status: 200, holds: /"object":"chat\.completion",/ },
	{ is: /chat\/completions -d .*"stream": true/, status: 200, holds: /^data: \{"id":"chatcmpl-[^]*\ndata: \[DONE\]\n/m },
	{ is: /v1\/messages/, status: 200, holds: /event: message_start\n[^]*event: message_stop\n/ },
	{ is: /-X PUT .*sessions/, status: 200, holds: /"tokens_budget_remaining":20000/ },
	{ is: /"tenant":"reports"/, status: 202, holds: /"task_id"/ },
	{ is: /tasks\/preview/, status: 200, holds: /"pool_id":"demo"/ },
	{ is: /--http2-prior-knowledge/, status: 200, holds: /"pool_id":"demo"/ },
	{ is: /--http2 --cacert/, status: 200, holds: /"pool_id":"demo"/ },
	{ is: /--http1\.1 --cacert/, status: 200, holds: /"pool_id":"demo"/ },
	{ is: /workers\/register/, status: 202, holds: /"replica_id":"rack-7"/ },
];

/** In code blocks: a line that begins with it, and those that it is continued on. */
function commandsOf(file: string): readonly Command[] {
	const text = readFileSync(join(repository, file), 'utf8');
	const blocks = [...text.matchAll(/^```\w*\n([^]*?)^```$/gm)].map(([, block = '']) => block);
	return blocks.flatMap((block) => [...block.matchAll(/^curl (?:.*\\\n)*.*$/gm)]).map(([command]) => ({ file, text: command }));
}

const documents = ['README.md', ...readdirSync(join(repository, 'docs')).map((name) => `docs/${name}`)].filter((file) =>
	file.endsWith('.md'),
);
const commands = documents.flatMap(commandsOf);
const curl = spawnSync('curl', ['--version'], { encoding: 'utf8' });
const skip = curl.status === 0 ? false : 'curl is not there';
const skipHttp2 = skip === false && !/^Features:.*\bHTTP2\b/m.test(curl.stdout) ? 'this curl has no HTTP/2' : skip;
const unless = (skip: string | false) => ({ skip });
const overHttp2 = unless(skipHttp2);
const key = 'of-the-curl-suite';

interface Answer {
	readonly body: string;
	readonly status: number;
	readonly version: string;
	/** What curl says for people. */
	readonly wrong: string;
}

/** As a shell runs it, with the daemon's address, a task's id and a key in their places. */
async function run({ text }: Command, places: { daemon: Daemon; id?: string; cert?: string; more?: string }): Promise<Answer> {
	const { daemon, id = '', cert = '', more = '' } = places;
	const placed = text
		.replaceAll(/\b(localhost|127\.0\.0\.1):8080\b/g, `127.0.0.1:${daemon.port}`)
		.replaceAll('gpu.lan:8443', `localhost:${daemon.port}`)
		.replaceAll('cert.pem', cert)
		.replaceAll('/tasks/ID', `/tasks/${id}`);
	const script = `curl() { command curl -sS ${more} --max-time 60 -w '\\n%{http_code} %{http_version}' "$@"; }\n${placed}`;
	const env = { ...process.env, KEY: key, ...(cert === '' ? {} : { CURL_CA_BUNDLE: cert }) };
	const child = spawn('bash', ['-c', script], { env, stdio: ['ignore', 'pipe', 'pipe'] });
	let said = '';
	let wrong = '';
	child.stdout.setEncoding('utf8').on('data', (part: string) => (said += part));
	child.stderr.setEncoding('utf8').on('data', (part: string) => (wrong += part));
	await once(child, 'close');
	const [, body = '', status = '', version = ''] = /^([^]*)\n(\d{3}) (\S+)$/.exec(said) ?? [];
	assert.ok(status !== '', `${placed}\n${said}\n${wrong}`);
	return { body, status: Number(status), version, wrong };
}

function knownOf(command: Command): Known {
	const found = known.filter(({ is }) => is.test(command.text));
	assert.equal(found.length, 1, `${command.file}: ${found.length} of the known commands are like ${command.text}`);
	return found[0] as Known;
}

const tasks = { decode_tokens_per_s: 2_000, prefill_tokens_per_s: 1e6, tokens: 20 };
const pool = { id: 'demo', engine: 'scripted', model: 'scripted:demo', aliases: ['default'], slots: 4, scripted: tasks };
const slow = {
	id: 'slow',
	engine: 'scripted',
	model: 'scripted:slow',
	slots: 1,
	scripted: { ...tasks, decode_tokens_per_s: 20, tokens: 10_000 },
};

describe('the curl commands of the documents', { skip }, () => {
	const folder = mkdtempSync(join(tmpdir(), 'orchestratord-curl-'));
	const tls = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
	let plain: Daemon;
	let node: Daemon;
	let secure: Daemon;

	before(async () => {
		writeFileSync(tls.cert, firstPair.cert);
		writeFileSync(tls.key, firstPair.key);
		const http2 = { args: ['--listen.http2', 'true', '--listen.host', 'node', '--threads.front', '1'] };
		const keys = [{ name: 'all', sha256: createHash('sha256').update(key).digest('hex'), roles: ['client', 'operator', 'worker'] }];
		const racks = { id: 'racks', engine: 'vllm', provider: 'external', workers: true, model: 'Qwen/Qwen3-32B' };
		[plain, node, secure] = await Promise.all([
			startDaemon({ config: { pools: [pool, slow] } }),
			startDaemon({ config: { pools: [pool, slow] }, ...http2 }),
			startDaemon({ config: { pools: [pool, racks], auth: { keys }, tls }, ...http2, ready: /"event":"replica-ready".*"pool_id":"demo"/ }),
		]);
	});
	after(() => rmSync(folder, { recursive: true }));

	const submit = async (daemon: Daemon, body: object): Promise<string> => {
		const answer = await fetch(`${daemon.url}/v2/tasks`, { method: 'POST', body: JSON.stringify(body) });
		return ((await answer.json()) as { task_id: string }).task_id;
	};
	const info = async (daemon: Daemon, id: string): Promise<{ state: string }> =>
		(await (await fetch(`${daemon.url}/v2/tasks/${id}`)).json()) as { state: string };
	/** A task that is done, or one that runs. */
	const taskFor = async (daemon: Daemon, { running }: Known): Promise<string> => {
		const id = await submit(daemon, { model_ref: running === true ? 'scripted:slow' : 'default', prompt: 'x' });
		if (running !== true) await fetch(`${daemon.url}/v2/tasks/${id}/result`);
		return id;
	};
	const answers = (command: Command, { body, status, version }: Answer, expected: Known, wanted: string): void => {
		assert.equal(status, expected.status, `${command.text}\n${body}`);
		assert.match(body, expected.holds, command.text);
		assert.equal(version, wanted, command.text);
	};

	it('are found, and each that is known stands in one', () => {
		assert.ok(commands.length >= known.length, String(commands.length));
		for (const { is } of known)
			assert.ok(
				commands.some(({ text }) => is.test(text)),
				String(is),
			);
	});

	for (const command of commands) {
		const { file, text } = command;
		const isSecure = text.includes('https://');
		const line = text.split('\n')[0]?.slice(0, 100);
		if (!isSecure && !text.includes('--http2')) {
			it(`does what ${file} says: ${line}`, async () => {
				const expected = knownOf(command);
				const id = await taskFor(plain, expected);
				answers(command, await run(command, { daemon: plain, id }), expected, '1.1');
				if (expected.running === true) assert.equal((await info(plain, id)).state, 'canceled');
			});
		}
		it(`does over HTTP/2 what ${file} says: ${line}`, overHttp2, async () => {
			const expected = knownOf(command);
			const daemon = isSecure ? secure : node;
			const more = isSecure || text.includes('--http2') ? '' : '--http2-prior-knowledge';
			const id = isSecure ? '' : await taskFor(daemon, expected);
			const answer = await run(command, { daemon, id, more, ...(isSecure ? { cert: tls.cert } : {}) });
			answers(command, answer, expected, text.includes('--http1.1') ? '1.1' : '2');
			if (expected.running === true) assert.equal((await info(node, id)).state, 'canceled');
		});
	}

	it('are refused with TLS by a certificate that is not known, and by a key that is none', overHttp2, async () => {
		const command = commands.find(({ text }) => text.includes('--http2 --cacert')) as Command;
		const unknown = { ...command, text: command.text.replace('--cacert cert.pem', '') };
		const { status, wrong: said } = await run(unknown, { daemon: secure });
		assert.equal(status, 0);
		assert.match(said, /certificate/);
		const wrong = { ...command, text: command.text.replace('$KEY', 'another') };
		assert.equal((await run(wrong, { daemon: secure, cert: tls.cert })).status, 401);
	});
});
