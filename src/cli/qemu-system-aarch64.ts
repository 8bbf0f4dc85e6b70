#!/usr/bin/env node
/** The second executable: started in the place of `qemu-system-aarch64` by tests that speak qtest. */
import { serveBoard } from './qtest-server.ts';

await serveBoard(process.argv.slice(2), 'faultline-qemu-system-aarch64');
