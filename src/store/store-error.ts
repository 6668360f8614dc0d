/** Why a store is not opened; the message is for a person. */
export class StoreError extends Error {
	override readonly name = 'StoreError';
}
