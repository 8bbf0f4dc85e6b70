/** Where a command writes, and what it may assume of the reader. */
import { reasonOf } from '../scenario/read-file.ts';

export interface Terminal {
  out(text: string): void;
  err(text: string): void;
  readonly stderrIsTerminal: boolean;
  readonly colour: boolean;
}

/** The process's own streams. A reader that goes away early ends the output, not the command. */
export function processTerminal(): Terminal {
  process.stderr.on('error', () => undefined);
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    process.stderr.write(`faultline: stdout: ${reasonOf(error)}\n`);
    process.exitCode = 1;
  });
  const { NO_COLOR } = process.env;
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    stderrIsTerminal: process.stderr.isTTY === true,
    colour: process.stderr.isTTY === true && NO_COLOR === undefined,
  };
}
