/** Cuts a program that disagrees down to what it takes. */
import type { Command, Fields, Program, Step } from './program.ts';

/** Whether a program still shows what is looked for. */
export type Fails = (program: Program) => Promise<boolean>;

/** Most programs that are tried. */
const LIMIT = 600;

/**
 * The shortest program found that still fails: runs of steps are left out, long ones first, then single commands and
 * single fields. Register writes stay: without the ones that bring the SMMU up, a program is about something else.
 */
export async function shrink(program: Program, fails: Fails): Promise<Program> {
  let best = program;
  let tries = 0;
  const attempt = async (steps: readonly Step[]): Promise<boolean> => {
    tries += 1;
    const candidate = { ...best, steps };
    if (tries > LIMIT || !(await fails(candidate))) return false;
    best = candidate;
    return true;
  };
  for (let changed = true; changed && tries <= LIMIT; ) {
    changed = false;
    for (let size = Math.ceil(best.steps.length / 2); size >= 1; size = Math.floor(size / 2)) {
      for (let at = best.steps.length - size; at >= 0; at -= size) {
        const left = best.steps.filter((step, index) => index < at || index >= at + size || step.op === 'set');
        if (left.length < best.steps.length && (await attempt(left))) changed = true;
      }
    }
    for (let at = 0; at < best.steps.length; at++) {
      for (const simpler of simplerSteps(best.steps[at])) {
        if (await attempt(best.steps.map((step, index) => (index === at ? simpler : step)))) {
          changed = true;
          break;
        }
      }
    }
  }
  return best;
}

/** Fields without which a structure is about something else: their zero is not the plain case. */
const ESSENTIAL = new Set(['V', 'Config', 'S2AA64', 'S2PS', 'AA64', 'A', 'IPS', 'VALID']);

const without = (fields: Fields, name: string): Fields =>
  Object.fromEntries(Object.entries(fields).filter(([other]) => other !== name));

/** Steps that do a little less than `step`. */
function simplerSteps(step: Step | undefined): Step[] {
  if (step?.op === 'put') {
    return Object.keys(step.fields)
      .filter((name) => !ESSENTIAL.has(name))
      .map((name) => ({ ...step, fields: without(step.fields, name) }));
  }
  if (step?.op === 'commands' && step.commands.length > 1) {
    return step.commands.map((_, left) => ({
      ...step,
      commands: step.commands.filter((_command: Command, index) => index !== left),
    }));
  }
  return [];
}
