/**
 * The person's side of the command line: stdout for results, stderr for words about them, Ctrl-C, stdin. One status line
 * that is rewritten in place, on terminals only.
 */
import type { Readable, Writable } from 'node:stream';
import pc from 'picocolors';
import type { Paint } from './banner.ts';

export interface Terminal {
	/** Results. */
	out(text: string): void;
	/** A line for people, on stderr. */
	say(line: string): void;
	/** A line that is only worth reading on a terminal. */
	note(line: string): void;
	/** Replaces the status line; null clears it. Nothing happens where stderr is not a terminal. */
	status(line: string | null): void;
	/** Whether stdout is a terminal. */
	readonly isLive: boolean;
	/** Lines in the place of those that were drawn last, cut to the terminal's size. Where `isLive` only. */
	redraw(text: string): void;
	/** Text as it may be shown: what a model wrote must not steer the terminal. */
	safe(text: string): string;
	readAll(): Promise<string>;
	/** Calls `interrupted` on Ctrl-C, SIGTERM, and when the reader of stdout has left; returns the unsubscribe. */
	onInterrupt(interrupted: () => void): () => void;
	/** For stderr. */
	readonly paint: Paint;
	/** For stdout. */
	readonly paintOut: Paint;
}

export interface TerminalStreams {
	readonly stdin: Readable;
	readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number; readonly rows?: number };
	readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
	on(signal: 'SIGINT' | 'SIGTERM', handler: () => void): unknown;
	removeListener(signal: 'SIGINT' | 'SIGTERM', handler: () => void): unknown;
}

export function terminalOf(streams: TerminalStreams): Terminal {
	const { stdin, stdout, stderr } = streams;
	const live = stderr.isTTY === true;
	const paint = pc.createColors(live && pc.isColorSupported);
	let statusShown = false;
	let linesDrawn = 0;
	// a reader that left (`| head`) is an interrupt while somebody listens for one, and nothing afterwards
	let readerLeft: () => void = () => undefined;
	stdout.on('error', () => readerLeft());
	// words for people that nobody can read any more (a full disk, a closed pipe) end nothing
	stderr.on('error', () => undefined);
	const clear = (): void => {
		if (statusShown) stderr.write('\r\u001b[K');
		statusShown = false;
	};
	return {
		out(text) {
			stdout.write(text);
		},
		say(line) {
			clear();
			stderr.write(`${line}\n`);
		},
		note(line) {
			clear();
			if (live) stderr.write(`${paint.dim(line)}\n`);
		},
		status(line) {
			clear();
			if (!live || line === null) return;
			stderr.write(paint.dim(line.slice(0, (stderr.columns || 80) - 1)));
			statusShown = true;
		},
		isLive: stdout.isTTY === true,
		redraw(text) {
			clear();
			const lines = text
				.trimEnd()
				.split('\n')
				.slice(0, Math.max(1, (stdout.rows || 24) - 1));
			const shown = lines.map((line) => `${line.slice(0, (stdout.columns || 80) - 1)}\n`).join('');
			stdout.write(`${linesDrawn === 0 ? '' : `\u001b[${linesDrawn}A`}\u001b[J${shown}`);
			linesDrawn = lines.length;
		},
		safe(text) {
			// C0 and C1 controls but tab and newline: escape sequences begin with one of them
			return stdout.isTTY === true ? text.replaceAll(/(?![\t\n])\p{Cc}/gu, '') : text;
		},
		async readAll() {
			const chunks: Buffer[] = [];
			for await (const chunk of stdin) chunks.push(Buffer.from(chunk));
			return Buffer.concat(chunks).toString('utf8');
		},
		onInterrupt(interrupted) {
			const handler = (): void => interrupted();
			streams.on('SIGINT', handler);
			streams.on('SIGTERM', handler);
			readerLeft = handler;
			return () => {
				streams.removeListener('SIGINT', handler);
				streams.removeListener('SIGTERM', handler);
				readerLeft = () => undefined;
			};
		},
		paint,
		paintOut: pc.createColors(stdout.isTTY === true && pc.isColorSupported),
	};
}
