/** Where the installed package lies: its models and its manifest. Main thread and CLI; looks at the file system only. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of the installed package: where `models/` and `package.json` lie. */
export function packageRoot(): string {
	let folder = dirname(fileURLToPath(import.meta.url));
	while (!existsSync(join(folder, 'package.json'))) {
		const parent = dirname(folder);
		if (parent === folder) throw new Error('the installation is incomplete: no package.json above the program');
		folder = parent;
	}
	return folder;
}
