import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/peer/**/*.peer.ts'],
    testTimeout: 600_000,
    hookTimeout: 60_000,
    fileParallelism: false,
    reporters: [['default', { summary: false }], './test/peer/verdict-reporter.ts'],
  },
});
