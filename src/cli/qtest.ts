/** `faultline qtest` as the list of commands shows it; `main.ts` starts the server before anything parses options. */
import { Command } from 'commander';
import { QTEST } from './qtest-server.ts';

export function qtestCommand(): Command {
  return new Command(QTEST)
    .description("serve the board to QEMU's device tests; options as for qemu-system-aarch64, -help lists them")
    .allowUnknownOption()
    .allowExcessArguments();
}
