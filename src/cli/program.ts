/** The command line. Exit code 0: all is well; 1: an output was wrong, an invariant broke or a row failed; 2: the input was refused. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import type { MachineFactory } from '../machine.ts';
import { InputError } from '../scenario/input-error.ts';
import { conformanceCommand } from './conformance.ts';
import { qtestCommand } from './qtest.ts';
import { runCommand } from './run.ts';
import type { Terminal } from './terminal.ts';

const EXIT_REFUSED = 2;

/** Runs one command line; the exit code. */
export function faultline(arguments_: readonly string[], terminal: Terminal, createMachine: MachineFactory): number {
  let code = 0;
  const program = new Command('faultline')
    .description('I/O page faults for VFIO passthrough, end to end, in one process.')
    .version(version(), '-V, --version', 'print the version')
    .addCommand(
      runCommand(terminal, createMachine, (result) => {
        code = result;
      }),
    )
    .addCommand(
      conformanceCommand(terminal, (result) => {
        code = result;
      }),
    )
    .addCommand(qtestCommand());
  for (const command of [program, ...program.commands]) {
    command
      .exitOverride()
      .helpOption('-h, --help', 'print this help')
      .showSuggestionAfterError()
      .configureOutput({
        writeOut: (text) => terminal.out(text),
        writeErr: (text) => terminal.err(text),
        outputError: (text, write) => write(text.replace(/^error: /, 'faultline: ')),
      });
  }
  program.helpCommand(false).showHelpAfterError('(faultline --help lists the commands)');
  try {
    program.parse(arguments_, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_REFUSED;
    if (!(error instanceof InputError)) throw error;
    terminal.err(`faultline: ${error.message}\n`);
    return EXIT_REFUSED;
  }
  return code;
}

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return String((manifest as { readonly version: unknown }).version);
}
