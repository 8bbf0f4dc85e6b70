#!/usr/bin/env node
/** The executable: the command line over the process's own streams. */
import { createPlatform } from '../platform.ts';
import { faultline } from './program.ts';
import { processTerminal } from './terminal.ts';

// Output may still be on its way when this returns, so the code is left for the process to end with.
process.exitCode = faultline(process.argv.slice(2), processTerminal(), createPlatform);
