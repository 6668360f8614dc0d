/** Makes the piece records that an engine sends, for tests. */
import { type PieceChannel, type Pieces, pieceHasIds, pieceHasLogprob, pieceHasTops } from '../../src/actors/serving/decode.ts';
import { type TopToken, topsJson } from '../../src/actors/serving/top-tokens.ts';

export interface TestPiece {
	readonly text: string | Uint8Array;
	readonly n?: number;
	readonly id?: number;
	readonly logprob?: number;
	/** Beside an id and a log-probability. */
	readonly tops?: readonly TopToken[];
	/** 0: the answer. */
	readonly channel?: PieceChannel;
	/** Of each of its tokens. */
	readonly ids?: readonly number[];
}

/** The records in the middle of a larger shared buffer, as a read from a socket leaves them. */
export function pieceRecords(pieces: readonly TestPiece[], before = 3): Pieces {
	const parts: Buffer[] = [Buffer.alloc(before, 0xee)];
	for (const piece of pieces) {
		const text = Buffer.from(piece.text as Uint8Array);
		const flagged = piece.id !== undefined || piece.logprob !== undefined;
		const head = Buffer.alloc(flagged ? 12 : 4);
		head.writeUInt16LE(text.length, 0);
		head.writeUInt8(piece.n ?? 1, 2);
		head.writeUInt8((flagged ? pieceHasLogprob : 0) | (piece.ids === undefined ? 0 : pieceHasIds) | (piece.channel ?? 0), 3);
		if (flagged) {
			head.writeUInt32LE(piece.id ?? 0, 4);
			head.writeFloatLE(piece.logprob ?? 0, 8);
		}
		const topsText = Buffer.from(topsJson(piece.tops ?? []) ?? '');
		const tops = topsText.length === 0 ? topsText : Buffer.concat([Buffer.of(topsText.length & 0xff, topsText.length >> 8), topsText]);
		if (tops.length > 0) head.writeUInt8(head.readUInt8(3) | pieceHasTops, 3);
		const ids = Buffer.alloc(4 * (piece.ids?.length ?? 0));
		for (const [index, id] of (piece.ids ?? []).entries()) ids.writeUInt32LE(id, 4 * index);
		parts.push(head, tops, ids, text);
	}
	const end = parts.reduce((bytes, part) => bytes + part.length, 0);
	return { type: 'pieces', bytes: Buffer.concat([...parts, Buffer.alloc(5, 0xee)]), start: before, end, count: pieces.length };
}
