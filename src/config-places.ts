/** Where in a configuration file a key stands: the line and column that a problem is told with. Pure. */
import { type Document, isMap, isNode, isPair, isScalar, isSeq, type LineCounter } from 'yaml';

/** `file.yaml:4:12`; null: the file does not have that key. */
export type Places = (path: string) => string | null;

export function placesIn(document: Document, lines: LineCounter, file: string): Places {
	return (path) => {
		const offset = offsetOf(document.contents, namesOf(path));
		if (offset === null) return null;
		const { line, col } = lines.linePos(offset);
		return `${file}:${line}:${col}`;
	};
}

/** The path that a problem begins with, as in `pools[0].slots is 0; …` or `unknown key pools[0].slot; …`. */
export function pathOf(problem: string): string | null {
	return /^(?:unknown key )?([a-z_]\w*(?:\.[A-Za-z_][\w-]*|\[\d+\])*)/.exec(problem)?.[1] ?? null;
}

function namesOf(path: string): (string | number)[] {
	return [...path.matchAll(/\[(\d+)\]|([^.[\]]+)/g)].map(([, index, name]) => (index === undefined ? (name ?? '') : Number(index)));
}

/** Of the key; of an item of a list, of its value. */
function offsetOf(contents: unknown, names: readonly (string | number)[]): number | null {
	let at: unknown = contents;
	let offset: number | null = null;
	for (const name of names) {
		if (isSeq(at) && typeof name === 'number') {
			at = at.items[name];
			offset = startOf(at);
		} else if (isMap(at)) {
			const pair = at.items.find((each) => isPair(each) && isScalar(each.key) && String(each.key.value) === String(name));
			offset = startOf(pair?.key);
			at = pair?.value;
		} else return null;
		if (offset === null) return null;
	}
	return offset;
}

function startOf(node: unknown): number | null {
	return isNode(node) ? (node.range?.[0] ?? null) : null;
}
