/**
 * The shape of the configuration file, as TypeBox schemas with their defaults: what `config schema` publishes, what the
 * loader validates against, and where flags and environment names come from. No I/O, no defaults anywhere else.
 */
import { type Static, type TSchema, Type } from '@sinclair/typebox';
import { artifactsSection } from './config-artifacts.ts';
import { catalogSection } from './config-catalog.ts';
import { engineSections } from './config-engine-options.ts';
import { autoOr, bytes, folder, milliseconds, oneOf, section, words } from './config-fields.ts';
import { memorySection, residencyKeys } from './config-residency.ts';

const idPattern = '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$';

const queue = section(
	{
		capacity: Type.Integer({ minimum: 1, maximum: 1_000_000, default: 256, description: 'Tasks that may wait, all classes together' }),
		bytes_max: bytes('256MiB', 'Bytes of prompts that may wait'),
		full_policy: oneOf(['reject', 'drop-lru', 'shed-low-priority'], 'reject', 'What happens to a task that finds the queue full'),
		batch_max_wait_ms: milliseconds(60_000, 'A batch task that has waited this long goes on as an interactive one'),
		order: oneOf(['fifo', 'deadline'], 'fifo', 'Order inside a class'),
		preemption: oneOf(['off', 'soft'], 'off', 'Whether an interactive task may take the slot of a batch task'),
	},
	'The waiting line of the pool',
);

const timeouts = section(
	{
		first_token_ms: milliseconds(60_000, 'From the grant of a slot to the first token', { minimum: 1 }),
		idle_ms: milliseconds(30_000, 'Between two tokens', { minimum: 1 }),
		wall_ms: milliseconds(600_000, 'From the grant of a slot to the end', { minimum: 1 }),
	},
	'Watchdogs of a running task',
);

/** A guess, for a pool of which nothing is known. */
export const perfPriorDefaults = { prefill_tokens_per_s: 1000, decode_tokens_per_s: 50, tokens_out: 128 };

const perfPrior = section(
	{
		prefill_tokens_per_s: Type.Number({
			exclusiveMinimum: 0,
			default: perfPriorDefaults.prefill_tokens_per_s,
			description: 'Prompt tokens taken in a second',
		}),
		decode_tokens_per_s: Type.Number({
			exclusiveMinimum: 0,
			default: perfPriorDefaults.decode_tokens_per_s,
			description: 'Tokens made in a second, each slot',
		}),
		tokens_out: Type.Integer({ minimum: 1, default: perfPriorDefaults.tokens_out, description: 'Tokens of an answer' }),
		load_ms: Type.Optional(Type.Integer({ minimum: 0, description: 'From the start of an engine until it is ready, ms' })),
	},
	'What predictions go by until the pool was measured; deadlines too, where it is not the default',
);

const fault = Type.Object(
	{
		kind: oneOf(['stall', 'die', 'error', 'ignore-cancel', 'flood'], undefined, 'What goes wrong'),
		after_tokens: Type.Integer({ minimum: 0, default: 0, description: 'Tokens made before it does' }),
		nth: Type.Optional(Type.Integer({ minimum: 1, description: 'Only the n-th request of the process; omitted: each' })),
		prompt_contains: Type.Optional(Type.String({ minLength: 1, description: 'Only requests whose prompt holds this' })),
		self_test: Type.Boolean({ default: false, description: 'Only the token that a starting replica shows itself ready with' }),
	},
	{ additionalProperties: false, description: 'A fault, and which requests have it' },
);

const scripted = section(
	{
		prefill_tokens_per_s: Type.Number({ exclusiveMinimum: 0, default: 5000, description: 'Prompt tokens taken in a second' }),
		decode_tokens_per_s: Type.Number({
			exclusiveMinimum: 0,
			default: perfPriorDefaults.decode_tokens_per_s,
			description: 'Tokens made in a second, each slot',
		}),
		tokens: Type.Integer({ minimum: 0, maximum: 1_000_000, default: 64, description: 'Tokens of an answer, unless max_tokens is lower' }),
		load_ms: milliseconds(0, 'How long a replica takes to become ready'),
		text: oneOf(
			['words', 'clock', 'echo'],
			'words',
			'What a token says: words from prompt and seed, the moment it was made in µs, or the prompt again',
		),
		record: Type.Optional(Type.String({ minLength: 1, description: 'File to append each token to that it makes, for comparisons' })),
		faults: Type.Array(fault, { default: [], description: 'Faults to act out, for tests', allowed: 'a list of faults' }),
	},
	'Settings of the scripted engine',
);

export const poolSchema = Type.Object(
	{
		id: Type.String({
			pattern: idPattern,
			description: 'Name of the pool',
			allowed: 'letters, digits, ".", "_" and "-", at most 64, beginning with a letter or digit',
		}),
		engine: oneOf(['llamacpp', 'vllm', 'tgi', 'triton', 'openai', 'scripted'], 'llamacpp', 'What decodes'),
		provider: oneOf(
			['embedded', 'managed', 'external'],
			'embedded',
			'Who runs the engine: a host process of ours, a program we start, or a url',
		),
		model: Type.Optional(
			Type.String({
				minLength: 1,
				description:
					'file:/absolute/path.gguf for llamacpp (default: the built-in model), scripted:<name> for scripted, its own name for an external engine',
			}),
		),
		url: Type.Optional(
			Type.Union([Type.String({ minLength: 1 }), Type.Array(Type.String({ minLength: 1 }), { minItems: 1, maxItems: 64 })], {
				description: 'Where an external engine listens; a list has one for each replica',
				allowed: 'http://host:port, https://host or unix:/path/to.sock, or a list of these',
			}),
		),
		workers: Type.Boolean({
			default: false,
			description: 'Whether external engines may register themselves here, with a key of the role worker; then url may be left out',
		}),
		command: Type.Optional(words('Command of a managed engine, with macros such as {port} and {model}; there is no shell')),
		preset: Type.Optional(oneOf(['llama-server', 'vllm', 'tgi', 'triton'], undefined, 'A managed engine that needs no command')),
		args: Type.Optional(words('What is added to the command of a preset')),
		env: Type.Optional(
			Type.Record(Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]*$' }), Type.Union([Type.String(), Type.Number(), Type.Boolean()]), {
				additionalProperties: false,
				description: 'Environment of a managed engine, beside ours; values may hold macros',
				allowed: 'a mapping of names to texts',
			}),
		),
		ready_ms: milliseconds(600_000, 'How long a managed engine may take from its start to its first token', { minimum: 1 }),
		stop_ms: milliseconds(10_000, 'How long a managed engine may take to end, before it is ended by force'),
		key_env: Type.Optional(Type.String({ minLength: 1, description: 'Environment variable that holds the key of an external engine' })),
		key_file: Type.Optional(Type.String({ minLength: 1, description: 'File that holds the key of an external engine' })),
		connect_ms: milliseconds(3_000, 'How long a connection to an external engine may take', { minimum: 1 }),
		aliases: Type.Array(Type.String({ minLength: 1, maxLength: 128 }), {
			default: [],
			description: 'Other names of the model in model_ref',
		}),
		devices: Type.Optional(
			Type.Array(Type.Integer({ minimum: 0, maximum: 255 }), { description: 'Devices the engine may see; omitted: all' }),
		),
		gpu_layers: autoOr(
			0,
			1024,
			'Layers of the model on the GPU, the others stay on the CPU; auto: all, or it is not loaded. Of a llama.cpp in a process of ours',
		),
		cpu_threads: autoOr(1, 1024, 'Compute threads of a replica; auto: the cores that the fronts leave, shared by all replicas'),
		replicas: Type.Integer({ minimum: 1, maximum: 64, default: 1, description: 'Running engines' }),
		slots: Type.Integer({ minimum: 1, maximum: 4096, default: 4, description: 'Tasks that decode at once, each replica' }),
		ctx: Type.Optional(
			Type.Integer({
				minimum: 16,
				maximum: 16_777_216,
				description: 'Tokens a slot holds; default the smaller of the model\u2019s and 2048',
			}),
		),
		max_tokens_out: Type.Integer({ minimum: 1, maximum: 16_777_216, default: 1024, description: 'Most tokens of one answer' }),
		queue,
		timeouts,
		perf_prior: perfPrior,
		migration: oneOf(['on', 'off'], 'on', 'Whether running tasks go on elsewhere when they lose their slot'),
		price: section(
			{
				per_1k_tokens_in: Type.Number({ minimum: 0, default: 0, description: 'Of prompts, for cost budgets; in any currency' }),
				per_1k_tokens_out: Type.Number({ minimum: 0, default: 0, description: 'Of answers' }),
			},
			'What tokens cost here',
		),
		...residencyKeys,
		scripted,
		...engineSections,
	},
	{ additionalProperties: false, description: 'One engine, one model, one device mask, one queue' },
);

const atLeastOne = { minimum: 1, maximum: Number.MAX_SAFE_INTEGER };

const keySchema = Type.Object(
	{
		name: Type.String({
			pattern: idPattern,
			description: 'What the key is called, in logs and messages',
			allowed: 'letters, digits, ".", "_" and "-", at most 64, beginning with a letter or digit',
		}),
		sha256: Type.String({
			pattern: '^[0-9a-fA-F]{64}$',
			description: 'SHA-256 of the key; the key itself is nowhere',
			allowed: 'the SHA-256 of the key, as 64 hexadecimal digits',
			// somebody may have put the key itself here
			secret: true,
		}),
		tenant: Type.String({ default: 'default', minLength: 1, maxLength: 64, description: 'Whose tasks and sessions it sees' }),
		roles: Type.Array(oneOf(['client', 'operator', 'worker'], undefined, 'What it may do'), {
			default: ['client'],
			minItems: 1,
			uniqueItems: true,
			description: 'client: tasks of its tenant; operator: all of them, and the pools; worker: registering replicas',
			allowed: 'a list of client, operator and worker',
		}),
		rate: section(
			{
				requests_per_minute: Type.Optional(Type.Number({ exclusiveMinimum: 0, description: 'New tasks in a minute' })),
				burst: Type.Optional(Type.Integer({ ...atLeastOne, description: 'New tasks at once; default: those of a minute' })),
				tokens_per_minute: Type.Optional(Type.Integer({ ...atLeastOne, description: 'Tokens in a minute, prompts and answers' })),
			},
			'How fast it may come',
		),
		budgets: section(
			{
				tokens: Type.Optional(Type.Integer({ ...atLeastOne, description: 'Prompts and answers together' })),
				time_ms: Type.Optional(Type.Integer({ ...atLeastOne, description: 'Time that its tasks hold slots' })),
				cost: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1e9, description: 'At the prices of the pools' })),
				gpu_ms: Type.Optional(Type.Integer({ ...atLeastOne, description: 'Time that its tasks keep GPUs busy, for each GPU' })),
			},
			'What it may use in all, for as long as the daemon runs',
		),
	},
	{ additionalProperties: false, description: 'An API key' },
);

const authSchema = section(
	{
		keys: Type.Array(keySchema, {
			default: [],
			maxItems: 10_000,
			description: 'API keys; with any, all but /health and /ready needs one. `orchestratord keys new` makes them',
			allowed: 'a list of keys, each with name and sha256',
		}),
		public_metrics: Type.Boolean({ default: false, description: 'Whether /metrics can be read without a key', allowed: 'true or false' }),
	},
	'Who may use the daemon',
);

export const configSchema = Type.Object(
	{
		listen: section(
			{
				addr: Type.String({ default: '127.0.0.1:8080', description: 'host:port to bind; beyond loopback only with auth.keys' }),
				host: oneOf(
					['auto', 'uws', 'node'],
					'auto',
					'Who speaks HTTP: uWebSockets.js, or node where its binary does not load (auto); one of them only',
				),
				http2: Type.Boolean({
					default: false,
					description: 'HTTP/2 beside HTTP/1.1 on the same port, by node: with TLS as the client asks, else with prior knowledge',
					allowed: 'true or false',
				}),
				hosts: Type.Array(Type.String({ minLength: 1, maxLength: 255 }), {
					default: [],
					maxItems: 100,
					description: 'Further names, or name:port, by which clients reach the daemon: what Host may be beside the bound address',
					allowed: 'a list of names',
				}),
				cors_origins: Type.Array(Type.String({ pattern: '^(\\*|https?://[^/\\s]+|null)$' }), {
					default: [],
					maxItems: 100,
					description: 'Origins whose web pages may use the daemon, such as https://app.example; * with auth.keys only',
					allowed: 'a list of origins such as https://app.example, without a path',
				}),
			},
			'Where the daemon listens',
		),
		tls: section(
			{
				cert: Type.String({ default: '', description: 'PEM file of the certificate and of those behind it; empty: no TLS' }),
				key: Type.String({ default: '', description: 'PEM file of its key; both are read again when they change' }),
			},
			'TLS: both files or none',
		),
		auth: authSchema,
		threads: section(
			{
				front: autoOr(1, 64, 'Threads that hold client connections, on one port; auto: 1, from 16 cores 2, from 32 cores 4'),
				engine: autoOr(1, 64, 'Threads that look after engines'),
			},
			'Threads of the daemon',
		),
		pools: Type.Array(poolSchema, {
			minItems: 1,
			description: 'Default: one pool `default` with the built-in model',
			allowed: 'a list of at least one pool',
		}),
		tasks: section(
			{
				disconnect_grace_ms: milliseconds(2000, 'How long the last watcher may be gone before on_disconnect: cancel acts'),
				on_disconnect: oneOf(['detach', 'cancel'], 'detach', 'Default of on_disconnect on /v2/tasks'),
				retention_ms: milliseconds(600_000, 'How long a finished task can be replayed; a second at least'),
				retention_count: Type.Integer({
					minimum: 0,
					maximum: 10_000_000,
					default: 10_000,
					description: 'Finished tasks kept at most, beside those of the last second; shared by the front threads',
				}),
				log_bytes_max: bytes('256MiB', 'Memory for the events of all tasks; reserved at admission; shared by the front threads'),
			},
			'Tasks and their event logs',
		),
		responses: section(
			{
				count_max: Type.Integer({
					minimum: 0,
					maximum: 10_000_000,
					default: 10_000,
					description: 'Responses of /v1/responses kept at most, each no longer than its task; shared by the front threads',
				}),
				bytes_max: bytes('64MiB', 'Memory for what they were made from; the oldest go first; shared by the front threads'),
			},
			'Responses that can be asked for again',
		),
		sessions: section(
			{
				ttl_ms: milliseconds(600_000, 'How long a session is remembered that nobody uses', { minimum: 1 }),
				turns_max: Type.Integer({ minimum: 0, maximum: 1_000_000, default: 8, description: 'Tasks of one session; 0 = any number' }),
				count_max: Type.Integer({ minimum: 1, maximum: 10_000_000, default: 100_000, description: 'Sessions remembered at most' }),
			},
			'Conversations: tasks with the same session_id',
		),
		placement: section({ pinning: oneOf(['on', 'off'], 'on', 'Whether a task may name the one pool that it goes to') }, 'Where tasks go'),
		sse: section(
			{
				heartbeat_ms: milliseconds(15_000, 'Comment lines on a quiet stream; 0 = off'),
				stall_ms: milliseconds(30_000, 'A watcher without progress for this long is cut', { minimum: 1 }),
				microbatch_ms: Type.Integer({
					minimum: 0,
					maximum: 50,
					default: 0,
					description: 'Collect tokens this long into one frame; 0 = off',
				}),
			},
			'Event streams',
		),
		limits: section(
			{
				body_bytes: bytes('4MiB', 'Longest request body'),
				inflight_body_bytes: bytes('256MiB', 'Bodies being received at once; shared by the front threads'),
				header_count: Type.Integer({ minimum: 8, maximum: 1000, default: 100, description: 'Headers of a request' }),
				connections: Type.Integer({
					minimum: 1,
					maximum: 1_000_000,
					default: 100_000,
					description: 'Connections open at once; shared by the front threads',
				}),
				header_ms: milliseconds(10_000, 'How long a request head may take; over uWebSockets.js it is cut after 10 s without a byte', {
					minimum: 100,
				}),
				body_ms: milliseconds(60_000, 'How long a request body may take, from its first bytes to its last', { minimum: 100 }),
				ws_message_bytes: bytes('4MiB', 'Longest message of a WebSocket'),
				watchers_per_key: Type.Integer({
					minimum: 1,
					maximum: 1_000_000,
					default: 10_000,
					description: 'Event streams open at once; shared by the front threads',
				}),
			},
			'Bounds on what clients may send',
		),
		memory: memorySection,
		artifacts: artifactsSection,
		store: section(
			{
				path: folder('Folder for what outlives the daemon: the catalog of models, artifacts, durable tasks; auto: of this user'),
				journal_bytes_max: bytes('1GiB', 'Durable tasks on disk, with their prompts, and the results of those that have ended'),
				cache_dir: folder('Folder for what managed engines cache ({cache_dir}), one in it for each replica; auto: of this user'),
			},
			'What is kept on disk',
		),
		catalog: catalogSection,
		shutdown: section({ grace_ms: milliseconds(30_000, 'How long running tasks may go on after SIGTERM') }, 'Stopping'),
		log: section(
			{
				level: oneOf(['debug', 'info', 'warn', 'error'], 'info', 'Least level that is logged'),
				dir: folder('Folder for what managed engines write, a file for each pool; auto: of this user, where the system has one; off: none'),
			},
			'Logging',
		),
	},
	{
		$schema: 'https://json-schema.org/draft/2020-12/schema',
		title: 'orchestratord configuration',
		additionalProperties: false,
		default: {},
	},
);

export type ConfigFile = Static<typeof configSchema>;
export type PoolFile = Static<typeof poolSchema>;
export type KeyFile = Static<typeof keySchema>;

export interface ConfigKey {
	/** `sse.heartbeat_ms`, or relative to its pool: `queue.capacity`. */
	readonly path: string;
	readonly schema: TSchema;
}

/** Every leaf of the file outside the pools. */
export const globalKeys: readonly ConfigKey[] = leaves(configSchema.properties, '').filter((key) => key.path !== 'pools');
/** Every leaf of a pool but its id. */
export const poolKeys: readonly ConfigKey[] = leaves(poolSchema.properties, '').filter((key) => key.path !== 'id');

function leaves(properties: Readonly<Record<string, TSchema>>, prefix: string): ConfigKey[] {
	return Object.entries(properties).flatMap(([name, schema]) => {
		const nested: unknown = schema['properties'];
		return nested !== undefined && schema['type'] === 'object'
			? leaves(nested as Readonly<Record<string, TSchema>>, `${prefix}${name}.`)
			: [{ path: `${prefix}${name}`, schema }];
	});
}

const unitBytes: Readonly<Record<string, number>> = {
	'': 1,
	b: 1,
	kb: 1000,
	mb: 1000 ** 2,
	gb: 1000 ** 3,
	kib: 1024,
	mib: 1024 ** 2,
	gib: 1024 ** 3,
};

/** Bytes of a validated size. */
export function parseBytes(size: number | string): number {
	if (typeof size === 'number') return size;
	const match = /^([0-9.]+) ?([A-Za-z]*)$/.exec(size);
	const unit = unitBytes[(match?.[2] ?? '').toLowerCase()];
	if (match === null || unit === undefined) throw new TypeError(`not a size: ${size}`);
	return Math.floor(Number(match[1]) * unit);
}
