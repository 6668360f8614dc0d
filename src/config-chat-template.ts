/**
 * The chat template that a pool names for an engine without one: a file of Jinja, or a `tokenizer_config.json` as Hugging Face's models have it.
 * Main thread and CLI; reads files.
 */
import { dirname, join, resolve } from 'node:path';
import type { World } from './config.ts';

export interface ChatTemplateSource {
	/** Jinja. */
	readonly chat_template: string;
	/** What the template has for `eos_token`; '' where nothing says. */
	readonly eos_token: string;
}

type Files = Pick<World, 'cwd' | 'readFile'>;
type Fields = Readonly<Record<string, unknown>>;

const bytesMax = 256 * 1024;
const tokenizerFile = 'tokenizer_config.json';

/** Null, with a problem said: it cannot be had. */
export function chatTemplateOf(file: string, path: string, { cwd, readFile }: Files, problems: string[]): ChatTemplateSource | null {
	const place = resolve(cwd, file);
	const refuse = (words: string): null => {
		problems.push(`${path} is ${file}, ${words}`);
		return null;
	};
	let text: string;
	try {
		text = readFile(place);
	} catch (error) {
		return refuse(`which cannot be read (${codeOf(error)})`);
	}
	if (Buffer.byteLength(text) > bytesMax && !place.endsWith('.json')) return refuse(`which is longer than ${bytesMax} bytes`);
	if (!place.endsWith('.json')) {
		if (text.trim() === '') return refuse('which is empty');
		return { chat_template: text, eos_token: eosIn(besides(join(dirname(place), tokenizerFile), readFile)) };
	}
	const config = jsonOf(text);
	if (config === null) return refuse('which is no JSON');
	const template = templateIn(config['chat_template']);
	if (template === null) return refuse('which has no chat_template; newer models have it in a file beside it, chat_template.jinja');
	if (Buffer.byteLength(template) > bytesMax) return refuse(`whose chat_template is longer than ${bytesMax} bytes`);
	return { chat_template: template, eos_token: eosIn(config) };
}

/** One, or several by name. */
function templateIn(value: unknown): string | null {
	if (typeof value === 'string') return value.trim() === '' ? null : value;
	if (!Array.isArray(value)) return null;
	const named = value.filter((each): each is Fields => typeof each === 'object' && each !== null);
	const chosen = named.find(({ name }) => name === 'default') ?? named[0];
	return templateIn(chosen?.['template'] ?? null);
}

/** A text, or an `AddedToken`. */
function eosIn(config: Fields | null): string {
	const eos = config?.['eos_token'];
	if (typeof eos === 'string') return eos;
	const content = typeof eos === 'object' && eos !== null ? (eos as Fields)['content'] : null;
	return typeof content === 'string' ? content : '';
}

/** A file that need not be there. */
function besides(place: string, readFile: Files['readFile']): Fields | null {
	try {
		return jsonOf(readFile(place));
	} catch (error) {
		if (codeOf(error) === 'unknown') throw error;
		return null;
	}
}

function jsonOf(text: string): Fields | null {
	try {
		const value: unknown = JSON.parse(text);
		return typeof value === 'object' && value !== null ? (value as Fields) : null;
	} catch (error) {
		if (!(error instanceof SyntaxError)) throw error;
		return null;
	}
}

function codeOf(error: unknown): string {
	return error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
}
