/** `POST /v2/config/reload`: the configuration is read anew, by main. On the front thread; waits for the answer. */

import { failure } from '../../actors/serving/failure.ts';
import type { ConfigReload } from '../../actors/serving/reload-messages.ts';
import type { Handler } from '../http/application.ts';
import { httpStatus } from './errors.ts';
import { type FrontParts, unanswered } from './front-parts.ts';

export function reloadConfigHandler(parts: FrontParts): Handler {
	return (exchange) =>
		exchange.body(() => {
			const answer = (reload: ConfigReload | null): void => {
				exchange.guarded(() => {
					if (reload === null) exchange.fail(unanswered('the daemon', 'closed'));
					else if (!reload.ok) exchange.fail(failure('INVALID_PARAMS', `nothing was reloaded: ${reload.problems.join('; ')}`));
					else {
						const { restartNeeded, ...change } = reload.change;
						exchange.json(httpStatus.ok, { ...change, restart_needed: restartNeeded });
					}
				});
			};
			void parts.reloadConfig().then(answer, () => answer(null));
		}, parts.options.bodyBytesMax);
}
