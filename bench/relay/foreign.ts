/**
 * Streams that are watched on another front thread than the one that runs their tasks: connections whose front is known, because
 * a tiny task that was submitted on each has told it by its id. Made before anything is measured.
 */
import { connect, type Socket } from 'node:net';

/** Of one front each, shared by the streams that submit there. */
const submittersMin = 16;
const probesAtOnce = 16;
const probesMax = 20_000;
/** Longer than the daemon knows a finished task: the probes are forgotten. */
const forgottenMs = 1_500;

export class KeptConnection {
	readonly socket: Socket;
	readonly #port: number;
	#text = '';
	#waiting: ((body: string) => void) | null = null;
	#failed: (why: Error) => void = () => {};

	constructor(port: number) {
		this.#port = port;
		this.socket = connect({ port, host: '127.0.0.1', noDelay: true });
		this.socket.setEncoding('latin1');
		this.socket.on('data', this.#onData);
		this.socket.on('error', () => this.socket.destroy());
		this.socket.on('close', () => this.#failed(new Error('the connection was closed')));
	}

	/** One at a time; answers the id of the task. */
	async submit(model: string, tokens: number): Promise<string> {
		const task = JSON.stringify({ model_ref: model, prompt: 'x', max_tokens: tokens });
		const body = await new Promise<string>((resolve, reject) => {
			this.#waiting = resolve;
			this.#failed = reject;
			this.socket.write(
				`POST /v2/tasks HTTP/1.1\r\nHost: 127.0.0.1:${this.#port}\r\nContent-Type: application/json\r\nContent-Length: ${task.length}\r\n\r\n${task}`,
			);
		});
		const id = /"task_id":"([0-9a-f-]{36})"/.exec(body)?.[1];
		if (id === undefined) throw new Error(`a task was refused: ${body}`);
		return id;
	}

	/** From here on all that comes belongs to `onData`. */
	watch(taskId: string, onData: (text: string) => void): void {
		this.socket.off('data', this.#onData);
		this.#failed = () => {};
		this.socket.on('data', onData);
		this.socket.write(`GET /v2/tasks/${taskId}/events HTTP/1.1\r\nHost: 127.0.0.1:${this.#port}\r\n\r\n`);
	}

	readonly #onData = (text: string): void => {
		this.#text += text;
		const head = this.#text.indexOf('\r\n\r\n');
		const length = Number(/content-length: (\d+)/i.exec(this.#text)?.[1]);
		if (head < 0 || this.#text.length < head + 4 + length) return;
		const body = this.#text.slice(head + 4, head + 4 + length);
		this.#text = '';
		this.#waiting?.(body);
	};
}

/** Which front admitted a task whose id the daemon made. */
function frontOf(taskId: string): number {
	return Number.parseInt(taskId.slice(-2), 16);
}

/** Connections that submit on one front. A stream that finds none idle waits for the next. */
class Submitters {
	readonly #idle: KeptConnection[] = [];
	readonly #waiting: ((connection: KeptConnection) => void)[] = [];

	get count(): number {
		return this.#idle.length;
	}

	add(connection: KeptConnection): void {
		const next = this.#waiting.shift();
		if (next === undefined) this.#idle.push(connection);
		else next(connection);
	}

	async submit(model: string, tokens: number): Promise<string> {
		const connection = this.#idle.pop() ?? (await new Promise<KeptConnection>((resolve) => this.#waiting.push(resolve)));
		const id = await connection.submit(model, tokens);
		this.add(connection);
		return id;
	}
}

export class ForeignWays {
	readonly #submitters = [new Submitters(), new Submitters()] as const;
	readonly #watchers: { readonly front: number; readonly connection: KeptConnection }[] = [];
	readonly #model: string;

	private constructor(model: string) {
		this.#model = model;
	}

	/** For so many streams on a daemon with two fronts. */
	static async open(port: number, model: string, streams: number): Promise<ForeignWays> {
		const ways = new ForeignWays(model);
		let probes = 0;
		const probe = async (): Promise<void> => {
			while (!ways.#complete(streams)) {
				probes += 1;
				if (probes > probesMax) throw new Error('the connections do not come to two fronts');
				const connection = new KeptConnection(port);
				const front = frontOf(await connection.submit(model, 1));
				const submitters = ways.#submitters[front];
				if (submitters === undefined) throw new Error(`front ${front} of two`);
				if (submitters.count < submittersMin) submitters.add(connection);
				else if (ways.#watchers.length < streams) ways.#watchers.push({ front, connection });
				else connection.socket.destroy();
			}
		};
		await Promise.all(Array.from({ length: probesAtOnce }, probe));
		await new Promise((resolve) => setTimeout(resolve, forgottenMs));
		return ways;
	}

	#complete(streams: number): boolean {
		return this.#watchers.length >= streams && this.#submitters.every(({ count }) => count >= submittersMin);
	}

	/** A task on one front, its events from the other. Answers the socket they come over. */
	async openStream(tokens: number, onData: (text: string) => void): Promise<Socket> {
		const watcher = this.#watchers.pop();
		if (watcher === undefined) throw new Error('more streams than connections');
		const home = watcher.front === 0 ? this.#submitters[1] : this.#submitters[0];
		watcher.connection.watch(await home.submit(this.#model, tokens), onData);
		return watcher.connection.socket;
	}
}
