/** `faultline qtest`: the board behind QEMU's qtest protocol. Its options are QEMU's, so nothing else parses them. */

export const QTEST = 'qtest';

/** Starts the server. Loads nothing of the rest of the program, so that tests which start it often need not wait. */
export async function serveQtest(words: readonly string[]): Promise<void> {
  const { serve } = await import('../board/server.ts');
  await serve(words.length === 0 ? ['-machine', 'virt,iommu=smmuv3', '-qtest', 'stdio'] : words, `faultline ${QTEST}`);
}
