/**
 * Reads the frames of an event log for those who tell it in another form. The text of an ordinary piece is told as the bytes that it has
 * as the inside of a JSON string: no parse, no copy. Pieces with more to them are parsed. Pure; `text` runs once per token.
 */
import type { LogSlice } from '../../actors/serving/event-log-view.ts';
import type { TopToken } from '../../actors/serving/top-tokens.ts';

/** A token event. */
export interface TokenJson {
	readonly t: string;
	readonly i: number;
	readonly n?: number;
	/** Absent: the answer. */
	readonly c?: 'reasoning' | 'tool';
	readonly id?: number;
	readonly logprob?: number | null;
	/** Where they were asked for, and its engine told them. */
	readonly top_logprobs?: readonly TopToken[];
}

export interface FrameVisitor {
	/** A piece of the answer, of so many tokens: `from[start, end)` is the inside of a JSON string. */
	text(from: Buffer, start: number, end: number, tokens: number): void;
	/** One of something else, or with a log-probability. */
	piece(token: TokenJson): void;
	/** Its one-line JSON. Default: nobody reads it. */
	event?(name: 'started' | 'end' | 'error', json: string): void;
}

const newline = 0x0a;
const quote = 0x22;
const backslash = 0x5c;
const brace = 0x7d;
const idBytes = 'id: '.length;
const eventBytes = 'event: '.length;
const tokenHeadBytes = 'token\ndata: '.length;
const textHeadBytes = '{"t":"'.length;
const indexBytes = '","i":'.length;
const dataBytes = 'data: '.length;

/** All frames of a slice, in their order. */
export function visitFrames({ bytes, start, end }: LogSlice, visitor: FrameVisitor): void {
	let at = start;
	while (at < end) {
		at = behindLine(bytes, at + idBytes) + eventBytes;
		const first = bytes[at];
		if (first === 0x74) at = visitToken(bytes, at + tokenHeadBytes, visitor);
		else {
			const dataAt = behindLine(bytes, at) + dataBytes;
			const dataEnd = behindLine(bytes, dataAt) - 1;
			visitor.event?.(first === 0x73 ? 'started' : bytes[at + 1] === 0x6e ? 'end' : 'error', bytes.toString('utf8', dataAt, dataEnd));
			at = dataEnd + 2;
		}
	}
}

/** From its JSON to behind its frame. */
function visitToken(bytes: Buffer, json: number, visitor: FrameVisitor): number {
	const textAt = json + textHeadBytes;
	let at = textAt;
	for (let byte = bytes[at]; byte !== quote; byte = bytes[at]) at += byte === backslash ? 2 : 1;
	const textEnd = at;
	at += indexBytes;
	while (isDigit(bytes[at] as number)) at += 1;
	let tokens = 1;
	// `,"n":`
	if (bytes[at] !== brace && bytes[at + 2] === 0x6e) {
		at += 5;
		for (tokens = 0; isDigit(bytes[at] as number); at += 1) tokens = tokens * 10 + (bytes[at] as number) - 0x30;
	}
	if (bytes[at] === brace) {
		if (textEnd > textAt) visitor.text(bytes, textAt, textEnd, tokens);
		return at + 3;
	}
	const end = behindLine(bytes, at) - 1;
	visitor.piece(JSON.parse(bytes.toString('utf8', json, end)) as TokenJson);
	return end + 2;
}

function behindLine(bytes: Buffer, from: number): number {
	let at = from;
	while (bytes[at] !== newline) at += 1;
	return at + 1;
}

function isDigit(byte: number): boolean {
	return byte >= 0x30 && byte <= 0x39;
}
