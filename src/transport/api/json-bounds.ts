/**
 * What JSON may be like beside its length in bytes: how many values, how deep, how long a name. Pure. A body of a few
 * megabytes that is all structure and no text takes seconds to parse, check and hash, and they would be those of everybody
 * else's streams; so it is looked at first, in one pass without a stack.
 */

/** Far above 4096 messages and a large schema. */
export const jsonValuesMax = 65_536;
/** Above what a schema within a body may have. */
export const jsonNestingMax = 128;
export const jsonNameBytesMax = 1024;
/** A shorter text cannot hold enough to matter. */
const looseBytes = 16 * 1024;

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const openList = 0x5b;
const closeList = 0x5d;
const openObject = 0x7b;
const closeObject = 0x7d;

/** What there is too much of, in words; null: nothing. A text that is not JSON may pass: the parser says why it is none. */
export function excessIn(json: Buffer): string | null {
	if (json.length <= looseBytes) return null;
	let values = 1;
	let depth = 0;
	let textBytes = 0;
	for (let at = 0; at < json.length; at++) {
		switch (json[at]) {
			case quote: {
				const from = at + 1;
				for (at = from; at < json.length && json[at] !== quote; at++) if (json[at] === backslash) at += 1;
				textBytes = at - from;
				break;
			}
			case colon:
				if (textBytes > jsonNameBytesMax) return `has a field whose name is longer than ${jsonNameBytesMax} bytes`;
				break;
			case comma:
				values += 1;
				break;
			case openList:
			case openObject:
				values += 1;
				depth += 1;
				if (depth > jsonNestingMax) return `is nested more than ${jsonNestingMax} deep`;
				break;
			case closeList:
			case closeObject:
				depth -= 1;
				break;
			default:
				break;
		}
		if (values > jsonValuesMax) return `holds more than ${jsonValuesMax} values`;
	}
	return null;
}
