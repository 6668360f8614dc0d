/** A client of `/v2/ws` for end-to-end tests, over a library of its own. Waits for what it hears, never for the clock. */
import { once } from 'node:events';
import { WebSocket } from 'ws';

export interface Message {
	readonly ref?: string;
	readonly task_id?: string;
	readonly seq?: number;
	readonly event: string;
	readonly data?: Readonly<Record<string, unknown>>;
}

/** A client that keeps what it hears. */
export class SocketClient {
	readonly socket: WebSocket;
	readonly heard: Message[] = [];
	readonly closed: Promise<number>;
	#wake: () => void = () => undefined;

	constructor(url: string, options: { readonly protocol?: string; readonly headers?: Record<string, string> } = {}) {
		this.socket = new WebSocket(`${url.replace('http', 'ws')}/v2/ws`, options.protocol ?? 'orchestratord.v2', {
			headers: options.headers ?? {},
		});
		this.closed = new Promise((resolve) => this.socket.once('close', (code) => resolve(code)));
		this.socket.on('error', () => undefined);
		this.socket.on('message', (text: Buffer) => {
			this.heard.push(JSON.parse(text.toString('utf8')) as Message);
			this.#wake();
		});
	}

	static async open(url: string): Promise<SocketClient> {
		const client = new SocketClient(url);
		await once(client.socket, 'open');
		return client;
	}

	say(message: unknown): void {
		this.socket.send(typeof message === 'string' ? message : JSON.stringify(message));
	}

	async until(reached: (message: Message) => boolean): Promise<Message> {
		for (let at = 0; ; at++) {
			while (at >= this.heard.length) {
				await new Promise<void>((resolve) => {
					this.#wake = resolve;
				});
			}
			const message = this.heard[at] as Message;
			if (reached(message)) return message;
		}
	}

	of(taskId: string): Message[] {
		return this.heard.filter(({ task_id: id, seq }) => id === taskId && seq !== undefined);
	}
}
