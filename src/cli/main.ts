#!/usr/bin/env node
/** The executable: the command line over the process's own streams. */
import { QTEST, serveQtest } from './qtest-server.ts';

const [command, ...words] = process.argv.slice(2);

if (command === QTEST) await serveQtest(words);
else {
  const [{ createPlatform }, { faultline }, { processTerminal }] = await Promise.all([
    import('../platform.ts'),
    import('./program.ts'),
    import('./terminal.ts'),
  ]);
  // Output may still be on its way when this returns, so the code is left for the process to end with.
  process.exitCode = faultline(process.argv.slice(2), processTerminal(), createPlatform);
}
