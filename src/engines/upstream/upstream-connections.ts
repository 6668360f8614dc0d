/** The connections of a front thread to one engine: those that are idle are used again, the latest first. */
import type { Endpoint } from './endpoint.ts';
import { type AnswerEvents, UpstreamConnection } from './upstream-connection.ts';

/** Idle ones beyond this many are closed. */
const idleMax = 64;
/** An engine closes idle connections after a while of its own; sooner, ours meets a closed one more seldom. */
const idleMs = 4_000;

export class UpstreamConnections {
	readonly #endpoint: Endpoint;
	readonly #connectMs: number;
	readonly #idle: { readonly connection: UpstreamConnection; readonly since: number }[] = [];
	readonly #all = new Set<UpstreamConnection>();
	#sweep: NodeJS.Timeout | null = null;

	constructor(endpoint: Endpoint, connectMs: number) {
		this.#endpoint = endpoint;
		this.#connectMs = connectMs;
	}

	get size(): number {
		return this.#all.size;
	}

	/** `fresh`: not one that was used before. */
	send(request: Buffer, answer: AnswerEvents, fresh = false): UpstreamConnection {
		const connection = (fresh ? null : this.#takeIdle()) ?? this.#open();
		connection.send(request, answer);
		return connection;
	}

	close(why: string): void {
		if (this.#sweep !== null) clearInterval(this.#sweep);
		for (const connection of [...this.#all]) connection.close(why);
	}

	#open(): UpstreamConnection {
		const connection = new UpstreamConnection(this.#endpoint, this.#connectMs, {
			onIdle: (idle) => this.#keep(idle),
			onClosed: (closed) => {
				this.#all.delete(closed);
				const at = this.#idle.findIndex((each) => each.connection === closed);
				if (at >= 0) this.#idle.splice(at, 1);
			},
		});
		this.#all.add(connection);
		return connection;
	}

	#takeIdle(): UpstreamConnection | null {
		return this.#idle.pop()?.connection ?? null;
	}

	#keep(connection: UpstreamConnection): void {
		if (this.#idle.length >= idleMax) return connection.close('enough connections are idle');
		this.#idle.push({ connection, since: performance.now() });
		this.#sweep ??= setInterval(() => this.#closeOld(), idleMs / 2).unref();
	}

	#closeOld(): void {
		const oldest = performance.now() - idleMs;
		while (this.#idle[0] !== undefined && this.#idle[0].since < oldest) this.#idle[0].connection.close('it was idle');
		if (this.#idle.length > 0 || this.#sweep === null) return;
		clearInterval(this.#sweep);
		this.#sweep = null;
	}
}
