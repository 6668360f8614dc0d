/**
 * From the bytes of a request body to a JSON value, or to a sentence that says where they stop making sense. Pure. The
 * engine's own messages are not used: they quote the text, and the text is a prompt.
 */
import { isUtf8 } from 'node:buffer';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import { excessIn } from './json-bounds.ts';

export type Parsed<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly failure: Failure };

/** `what` the bytes are, in the words of the refusal. */
export function parseJsonBody(body: Buffer, what = 'the body'): Parsed<unknown> {
	if (body.length === 0) return refused(`${what} is empty; it must be a JSON object`);
	if (!isUtf8(body)) return refused(`${what} is not UTF-8: it breaks at byte ${invalidUtf8At(body)}`);
	const excess = excessIn(body);
	if (excess !== null) return refused(`the body ${excess}, the most that is taken`);
	const text = body.toString('utf8');
	try {
		return { ok: true, value: JSON.parse(text) as unknown };
	} catch (error) {
		if (!(error instanceof SyntaxError)) throw error;
		return refused(`${what} is not JSON: ${whereJsonBreaks(text)}`);
	}
}

export function refused(message: string): { readonly ok: false; readonly failure: Failure } {
	return { ok: false, failure: failure('INVALID_PARAMS', message) };
}

/** Where the bytes stop being UTF-8, within a character. */
function invalidUtf8At(bytes: Buffer): number {
	const again = Buffer.from(bytes.toString('utf8'));
	let at = 0;
	while (at < bytes.length && bytes[at] === again[at]) at += 1;
	return at;
}

type Expect = 'value' | 'value or ]' | 'name' | 'name or }' | 'colon' | 'comma or end';

const expected: Readonly<Record<Expect, string>> = {
	value: 'a value',
	'value or ]': 'a value or ]',
	name: 'a name in double quotes',
	'name or }': 'a name in double quotes or }',
	colon: 'a colon',
	'comma or end': 'a comma or the end',
};
const scalar = /(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)/y;

/** Where a text that is not JSON breaks, in words. Does not recurse: the text may be nested without bound. */
export function whereJsonBreaks(text: string): string {
	const open: ('{' | '[')[] = [];
	let expect = 'value' as Expect;
	let at = 0;
	for (;;) {
		while (isSpace(text.charCodeAt(at))) at += 1;
		const char = text[at];
		if (char === undefined) break;
		const inObject = open.at(-1) === '{';
		if ((char === '}' && inObject && (expect === 'name or }' || expect === 'comma or end')) || (char === ']' && closes(open, expect))) {
			open.pop();
			expect = 'comma or end';
			at += 1;
		} else if (expect === 'comma or end') {
			if (char !== ',' || open.length === 0) break;
			expect = inObject ? 'name' : 'value';
			at += 1;
		} else if (expect === 'colon') {
			if (char !== ':') break;
			expect = 'value';
			at += 1;
		} else if (char === '"') {
			const end = stringEnd(text, at);
			if (end < 0) return `${place(text, -end)} a string breaks: a line break, a bad escape, or no closing quote`;
			at = end;
			expect = expect === 'name' || expect === 'name or }' ? 'colon' : 'comma or end';
		} else if (expect === 'name' || expect === 'name or }') {
			break;
		} else if (char === '{' || char === '[') {
			open.push(char);
			expect = char === '{' ? 'name or }' : 'value or ]';
			at += 1;
		} else {
			scalar.lastIndex = at;
			if (!scalar.test(text)) break;
			at = scalar.lastIndex;
			expect = 'comma or end';
		}
	}
	return `${place(text, at)} it needs ${expect === 'comma or end' && open.length === 0 ? 'nothing more' : expected[expect]}`;
}

function closes(open: readonly string[], expect: Expect): boolean {
	return open.at(-1) === '[' && (expect === 'value or ]' || expect === 'comma or end');
}

/** Position behind the closing quote; negative: where it breaks. */
function stringEnd(text: string, start: number): number {
	for (let at = start + 1; at < text.length; at++) {
		const code = text.charCodeAt(at);
		if (code === 0x22) return at + 1;
		if (code < 0x20) return -at;
		if (code !== 0x5c) continue;
		at += 1;
		const escaped = text[at];
		if (escaped === 'u') {
			if (!/^[0-9a-fA-F]{4}$/.test(text.slice(at + 1, at + 5))) return -at;
			at += 4;
		} else if (escaped === undefined || !'"\\/bfnrt'.includes(escaped)) return -at;
	}
	return -text.length;
}

function isSpace(code: number): boolean {
	return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

function place(text: string, at: number): string {
	let line = 1;
	let lineStart = 0;
	for (let end = text.indexOf('\n'); end >= 0 && end < at; end = text.indexOf('\n', lineStart)) {
		line += 1;
		lineStart = end + 1;
	}
	const column = at - lineStart + 1;
	return `${at >= text.length ? 'it ends too early; ' : ''}at line ${line}, column ${column} (character ${at})`;
}
