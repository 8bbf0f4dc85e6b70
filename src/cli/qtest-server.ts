/** `faultline qtest`: the board behind QEMU's qtest protocol. Its options are QEMU's, so nothing else parses them. */
import { reasonOf } from '../scenario/read-file.ts';

export const QTEST = 'qtest';

/** Starts the server. Loads nothing of the rest of the program, so that tests which start it often need not wait. */
export async function serveQtest(words: readonly string[]): Promise<void> {
  await serveBoard(
    words.length === 0 ? ['-machine', 'virt,iommu=smmuv3', '-qtest', 'stdio'] : words,
    `faultline ${QTEST}`,
  );
}

/** The server, named `program` in messages. A reader of stdout that goes away ends it, as a client that does. */
export async function serveBoard(words: readonly string[], program: string): Promise<void> {
  process.stderr.on('error', () => undefined);
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    process.stderr.write(`${program}: stdout: ${reasonOf(error)}\n`);
    process.exit(1);
  });
  const { serve } = await import('../board/server.ts');
  await serve(words, program);
}
