/**
 * The repository as the tidy tests see it: its files, and their code with comments and literals blanked out, so that a
 * rule about code never trips over a word in a sentence. Reads only; needs git or walks the tree.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, sep } from 'node:path';
import { packageRoot } from '../../src/config-root.ts';

export interface SourceFile {
	/** From the repository's root, with `/`. */
	readonly path: string;
	readonly text: string;
	/** `text` without comments; literals kept. */
	readonly uncommented: string;
	/** `text` without comments and without what literals hold. Same line numbers. */
	readonly code: string;
}

export const root = packageRoot();

const outside = /^(node_modules|dist|results|\.git)(\/|$)/;

/** Every file that is, or would be, in the repository. */
export function repositoryFiles(): readonly string[] {
	const git = spawnSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' });
	const listed =
		git.status === 0
			? git.stdout.split('\n').filter(Boolean)
			: readdirSync(root, { recursive: true, encoding: 'utf8' }).map((path) => path.split(sep).join('/'));
	return listed.filter((path) => !outside.test(path) && isFile(path)).sort();
}

function isFile(path: string): boolean {
	return statSync(join(root, path), { throwIfNoEntry: false })?.isFile() === true;
}

export function readText(path: string): string {
	return readFileSync(join(root, path), 'utf8');
}

export function typescriptFiles(): readonly SourceFile[] {
	return repositoryFiles()
		.filter((path) => path.endsWith('.ts'))
		.map((path) => sourceFile(path, readText(path)));
}

export function sourceFile(path: string, text: string): SourceFile {
	return { path, text, uncommented: blank(text, false), code: blank(text, true) };
}

const regexBefore = /(^|[=(,:[!&|?{};\n]|\breturn)\s*$/;

/** Replaces comments, and with `literals` what strings, templates and regexes hold, by spaces. Newlines stay. */
function blank(text: string, literals: boolean): string {
	let out = '';
	let at = 0;
	const skip = (end: number, hide: boolean): void => {
		const part = text.slice(at, end);
		out += hide ? part.replaceAll(/[^\n]/g, ' ') : part;
		at = end;
	};
	while (at < text.length) {
		const two = text.slice(at, at + 2);
		const one = text[at] ?? '';
		if (two === '//') skip(endOf(text, '\n', at), true);
		else if (two === '/*') skip(endOf(text, '*/', at + 2) + 2, true);
		else if (one === "'" || one === '"' || one === '`') literal(one);
		else if (one === '/' && regexBefore.test(text.slice(Math.max(0, at - 40), at))) literal('/');
		else skip(at + 1, false);
	}
	return out;

	function literal(quote: string): void {
		const end = closing(text, quote, at + 1);
		skip(at + 1, false);
		skip(end, literals);
		if (at < text.length) skip(at + 1, false);
	}
}

function endOf(text: string, mark: string, from: number): number {
	const end = text.indexOf(mark, from);
	return end < 0 ? text.length : end;
}

function closing(text: string, quote: string, from: number): number {
	let inClass = false;
	for (let at = from; at < text.length; at++) {
		const char = text[at];
		if (char === '\\') at++;
		else if (quote === '/' && char === '[') inClass = true;
		else if (quote === '/' && char === ']') inClass = false;
		else if (char === quote && !inClass) return at;
	}
	return text.length;
}

export interface Import {
	readonly specifier: string;
	readonly line: number;
}

/** What a file imports or re-exports, types too, and what it imports dynamically. */
export function importsOf(file: SourceFile): readonly Import[] {
	const found: Import[] = [];
	for (const match of file.uncommented.matchAll(
		/(?:^|\n)[ \t]*(?:import|export)\b[^'";]*?\bfrom\s*'([^']+)'|(?:^|\n)[ \t]*import\s*'([^']+)'|\bimport\(\s*'([^']+)'/g,
	)) {
		found.push({ specifier: match[1] ?? match[2] ?? match[3] ?? '', line: lineAt(file.uncommented, match.index + match[0].length) });
	}
	return found;
}

export function lineAt(text: string, index: number): number {
	let line = 1;
	for (let at = text.indexOf('\n'); at >= 0 && at < index; at = text.indexOf('\n', at + 1)) line++;
	return line;
}
