/**
 * What is compared: the engine alone (direct), nginx before it, and orchestratord before its scripted engine. Each is a
 * few processes on loopback, started here, ended by id when the bench is over, whatever happened.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const subjectNames = ['direct', 'nginx', 'haproxy', 'pass-through', 'orchestratord'] as const;
export type SubjectName = (typeof subjectNames)[number];

export interface Subject {
	readonly name: SubjectName;
	readonly kind: 'sse' | 'openai' | 'tasks' | 'foreign';
	readonly port: number;
	/** The processes whose CPU counts as the relay's. */
	readonly relayPids: () => readonly number[];
}

const here = dirname(fileURLToPath(import.meta.url));
const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
const repository = extension === '.ts' ? join(here, '..') : join(here, '../..');

export function benchEntry(name: string): string {
	return join(here, 'relay', `${name}${extension}`);
}

/** CPU time of all threads of a process, in µs, to the nanosecond clock of the scheduler. */
export function cpuUs(pid: number): number {
	let total = 0;
	for (const thread of readdirSync(`/proc/${pid}/task`)) {
		total += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1000;
	}
	return total;
}

/** Resident memory in bytes. */
export function residentBytes(pid: number): number {
	const kb = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
	return Number(kb) * 1024;
}

export function childrenOf(pid: number): number[] {
	const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
	return children === '' ? [] : children.split(' ').map(Number);
}

async function freePort(): Promise<number> {
	const server = createServer();
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
	const address = server.address();
	await new Promise((resolve) => server.close(resolve));
	if (address === null || typeof address === 'string') throw new Error('no port');
	return address.port;
}

/** Any server, ours or not: so it is not asked by the client library. */
async function answers(port: number, path: string): Promise<void> {
	const deadline = performance.now() + 30_000;
	for (;;) {
		const ok = await fetch(`http://127.0.0.1:${port}${path}`).then(
			(response) => response.ok,
			() => false,
		);
		if (ok) return;
		if (performance.now() > deadline) throw new Error(`nothing answers on port ${port}`);
		await new Promise((resolve) => setTimeout(resolve, 50));
	}
}

export interface OrchestratordOptions {
	readonly retentionMs?: number;
	readonly foreign?: boolean;
}

export class Bench {
	readonly #children: ChildProcess[] = [];
	readonly #folder = mkdtempSync(join(tmpdir(), 'relay-bench-'));

	#spawn(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
		const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...env } });
		this.#children.push(child);
		return child;
	}

	/** `openai`: it speaks that API, and listens on `socketPath` as well. */
	async direct(rate: number, openai = false): Promise<Subject> {
		const engine = openai ? [benchEntry('openai-engine'), String(rate), this.socketPath] : [benchEntry('sse-engine'), String(rate)];
		rmSync(this.socketPath, { force: true });
		const { port } = await this.#program(engine);
		return { name: 'direct', kind: openai ? 'openai' : 'sse', port, relayPids: () => [] };
	}

	/** A program of the bench that says its port when it listens. */
	async #program(args: readonly string[]): Promise<{ readonly port: number; readonly pid: number }> {
		const child = this.#spawn(process.execPath, args);
		const port = await new Promise<number>((resolve, reject) => {
			createInterface({ input: child.stdout as NodeJS.ReadableStream }).once('line', (line) => resolve(Number(JSON.parse(line).port)));
			child.once('exit', () => reject(new Error(`${args[0]} has ended`)));
		});
		return { port, pid: child.pid ?? 0 };
	}

	/** Ours, with nothing between the two connections. */
	async passThrough(url: string): Promise<Subject> {
		const { port, pid } = await this.#program([benchEntry('pass-through'), url]);
		return { name: 'pass-through', kind: 'openai', port, relayPids: () => [pid] };
	}

	/** A program of `bench/` that prints the port that it listens on. */
	program(name: string, args: readonly string[]): Promise<{ readonly port: number; readonly pid: number }> {
		return this.#program([join(here, `${name}${extension}`), ...args]);
	}

	get socketPath(): string {
		return join(this.#folder, 'engine.sock');
	}

	/** `openai`: connections to the engine are kept, as ours are. `upstream`: a port, or the path of a socket. */
	async nginx(upstream: number | string, openai = false): Promise<Subject> {
		const server = typeof upstream === 'number' ? `127.0.0.1:${upstream}` : `unix:${upstream}`;
		const port = await freePort();
		const config = join(this.#folder, 'nginx.conf');
		writeFileSync(
			config,
			// Its worker is somebody else otherwise, who may not open the engine's socket.
			`${process.getuid?.() === 0 ? 'user root; ' : ''}daemon off; worker_processes 1; pid ${this.#folder}/nginx.pid; error_log /dev/null crit;
events { worker_connections 8192; }
http {
  access_log off;
  upstream engine { server ${server}; ${openai ? 'keepalive 512; keepalive_requests 100000;' : ''} }
  server {
    listen 127.0.0.1:${port} backlog=2048;
    location / { proxy_pass http://engine; proxy_http_version 1.1; proxy_buffering off; proxy_set_header Connection ""; proxy_read_timeout 300s; }
  }
}
`,
		);
		const child = this.#spawn('nginx', ['-c', config, '-p', this.#folder]);
		await answers(port, '/?tokens=1');
		const master = child.pid ?? 0;
		return { name: 'nginx', kind: openai ? 'openai' : 'sse', port, relayPids: () => childrenOf(master) };
	}

	/** With `option http-no-delay`: without it, it waits for more to send. */
	async haproxy(upstream: number | string): Promise<Subject> {
		const port = await freePort();
		const config = join(this.#folder, 'haproxy.cfg');
		const server = typeof upstream === 'number' ? `127.0.0.1:${upstream}` : `unix@${upstream}`;
		writeFileSync(
			config,
			`global
  maxconn 8192
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  option http-no-delay
  http-reuse always
frontend clients
  bind 127.0.0.1:${port} backlog 2048
  default_backend engine
backend engine
  server engine ${server}
`,
		);
		const child = this.#spawn('haproxy', ['-q', '-db', '-f', config]);
		await answers(port, '/?tokens=1');
		const pid = child.pid ?? 0;
		return { name: 'haproxy', kind: 'openai', port, relayPids: () => [pid] };
	}

	/**
	 * A daemon with one scripted pool that decodes at `rate` tokens/s a stream, without prefill time. `foreign`: with two front
	 * threads, each stream watched on the one that does not run it.
	 */
	async orchestratord(slots: number, rate: number, tokensMax: number, more: OrchestratordOptions = {}): Promise<Subject> {
		const { retentionMs = 1000, foreign = false } = more;
		const { port, pid } = await this.daemon({
			threads: { front: foreign ? 2 : 1 },
			pools: [
				{
					id: 'bench',
					engine: 'scripted',
					model: 'scripted:bench',
					slots,
					ctx: tokensMax + 64,
					max_tokens_out: tokensMax,
					scripted: { prefill_tokens_per_s: 1e9, decode_tokens_per_s: rate, tokens: tokensMax, text: 'clock' },
				},
			],
			tasks: { retention_ms: retentionMs, log_bytes_max: '2GiB' },
		});
		return { name: 'orchestratord', kind: foreign ? 'foreign' : 'tasks', port, relayPids: () => [pid] };
	}

	/** A daemon before an engine that speaks the OpenAI API. */
	async relayOf(url: string, slots: number, tokensMax: number): Promise<Subject> {
		const { port, pid } = await this.daemon({
			pools: [
				{
					id: 'bench',
					engine: 'openai',
					provider: 'external',
					url,
					slots,
					ctx: tokensMax + 64,
					max_tokens_out: tokensMax,
					aliases: ['scripted:bench'],
				},
			],
			tasks: { retention_ms: 1000, log_bytes_max: '2GiB' },
		});
		return { name: 'orchestratord', kind: 'tasks', port, relayPids: () => [pid] };
	}

	/** A daemon that is ready, with what `config` says beside its address, and `env` beside that of the bench. */
	async daemon(
		config: Readonly<Record<string, unknown>>,
		env: Readonly<Record<string, string>> = {},
	): Promise<{ readonly port: number; readonly pid: number }> {
		const port = await freePort();
		const file = join(this.#folder, `orchestratord-${port}.yaml`);
		writeFileSync(
			file,
			JSON.stringify({
				listen: { addr: `127.0.0.1:${port}` },
				store: { path: join(this.#folder, `store-${port}`) },
				log: { level: 'error' },
				...config,
			}),
		);
		const child = this.#spawn(
			process.execPath,
			[join(repository, 'bin/orchestratord.js'), 'serve', '--no-supervise', '--config', file],
			env,
		);
		child.stdout?.resume();
		await answers(port, '/ready');
		return { port, pid: child.pid ?? 0 };
	}

	async close(): Promise<void> {
		for (const child of this.#children) {
			if (child.exitCode !== null) continue;
			const gone = new Promise((resolve) => child.once('exit', resolve));
			child.kill('SIGTERM');
			const force = setTimeout(() => child.kill('SIGKILL'), 5_000);
			await gone;
			clearTimeout(force);
		}
		rmSync(this.#folder, { recursive: true, force: true });
	}
}
