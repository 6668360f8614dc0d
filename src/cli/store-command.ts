/** `store check` and `store repair`: what is in the store of a daemon that does not run, and what became of what was damaged. */
import { type Command, Option } from 'commander';
import { type DaemonConfig, loadConfig } from '../config.ts';
import type { ParsedFlags } from '../config-overrides.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import type { Terminal } from './terminal.ts';

export interface StoreReport {
	readonly folder: string;
	readonly parts: readonly StorePart[];
}

export interface StorePart {
	readonly name: string;
	/** That can be read. */
	readonly entries: number;
	/** A sentence each. */
	readonly problems: readonly string[];
	/** The file as it was; null: nothing was mended. */
	readonly keptAs: string | null;
	/** Entries of the file that is there now. */
	readonly mended: number;
}

/** The exit code says whether the store is whole: of `repair`, afterwards. */
export function tellStore({ folder, parts }: StoreReport, repair: boolean, json: boolean, terminal: Terminal): ExitCode {
	const isDamaged = parts.some(({ problems }) => problems.length > 0);
	if (json) {
		const told = parts.map(({ name, entries, problems, keptAs, mended }) => ({ name, entries, problems, kept_as: keptAs, mended }));
		terminal.out(`${JSON.stringify({ folder, parts: told })}\n`);
	} else {
		if (parts.length === 0) terminal.out(`There is no store in ${folder}.\n`);
		for (const part of parts) terminal.out(wordsFor(part));
		if (isDamaged && !repair) terminal.out('Mend it with: orchestratord store repair\n');
	}
	return isDamaged && !repair ? exitCodes.failure : exitCodes.ok;
}

function wordsFor({ name, entries, problems, keptAs, mended }: StorePart): string {
	const count = (of: number): string => `${of} ${of === 1 ? 'entry' : 'entries'}`;
	if (problems.length === 0) return `${name}: whole, ${count(entries)}\n`;
	const list = problems.map((words) => `  ${words}\n`).join('');
	if (keptAs === null) return `${name}: damaged, ${count(entries)} can be read\n${list}`;
	return `${name}: mended, with ${count(mended)}; what was lost:\n${list}  the damaged file is kept as ${keptAs}\n`;
}

/** `flags`: those of the configuration, which says where the store is. */
export function addStore(
	program: Command,
	terminal: Terminal,
	flags: ParsedFlags | null,
	look: (config: DaemonConfig, repair: boolean) => Promise<StoreReport>,
	done: (code: number) => void,
): void {
	const store = program.command('store').description('look at the store of a daemon that does not run, and mend it');
	for (const [name, words] of [
		['check', 'read every record, and say what is damaged'],
		['repair', 'mend what can be mended, keep a copy of the damaged file, and say what was lost'],
	] as const) {
		store
			.command(name)
			.description(words)
			.addOption(new Option('--store.path <folder>', 'the store; default that of the configuration'))
			.addOption(new Option('--config <file>', 'configuration file (also ORCHD_CONFIG)'))
			.option('--json', 'print JSON')
			.action(async ({ json = false }: { readonly json?: boolean }) => {
				const repair = name === 'repair';
				done(tellStore(await look(loadConfig(flags ?? []), repair), repair, json, terminal));
			});
	}
}
