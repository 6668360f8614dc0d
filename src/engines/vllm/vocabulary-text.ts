/**
 * The bytes that the pieces of a vocabulary stand for, as Hugging Face tokenizers write them: byte-level BPE has a printable character
 * for each byte (`bytes_to_unicode` of openai/gpt-2, `src/encoder.py`), SentencePiece `▁` for a space and `<0xE2>` for a byte. Pure.
 */

/** By code point: the byte that it stands for. */
const byteOf = new Map<number, number>();
{
	let beyond = 0x100;
	for (let byte = 0; byte < 0x100; byte += 1) {
		const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
		byteOf.set(printable ? byte : beyond, byte);
		if (!printable) beyond += 1;
	}
}
const sentencePieceSpace = '\u2581';

export function pieceBytes(pieces: readonly string[]): readonly Buffer[] {
	const isSentencePiece = pieces.some((piece) => piece.includes(sentencePieceSpace) || /^<0x[0-9A-F]{2}>$/.test(piece));
	return pieces.map((piece) => (isSentencePiece ? sentencePieceBytes(piece) : byteLevelBytes(piece)));
}

function sentencePieceBytes(piece: string): Buffer {
	const byte = /^<0x([0-9A-F]{2})>$/.exec(piece)?.[1];
	return byte === undefined ? Buffer.from(piece.replaceAll(sentencePieceSpace, ' ')) : Buffer.of(Number.parseInt(byte, 16));
}

/** What has a character that stands for no byte is an added token, and is its own text. */
function byteLevelBytes(piece: string): Buffer {
	const bytes = Array.from(piece, (character) => byteOf.get(character.codePointAt(0) as number));
	return bytes.every((byte) => byte !== undefined) ? Buffer.from(bytes) : Buffer.from(piece);
}
