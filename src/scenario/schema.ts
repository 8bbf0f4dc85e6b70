/**
 * What a scenario says, with its limits and defaults. Every check carries the words that an error message completes:
 * "expected ...". Sizes come out in bytes, durations in nanoseconds.
 */
import { z } from 'zod';
import { PROFILES } from '../sim/profiles.ts';
import { PREMAP_PAGES_MAX, WORKERS_MAX } from '../vfio/uapi-extensions.layout.ts';
import { durationOf, formatSize, sizeOf } from './quantity.ts';

/**
 * How the device's memory is made available. To a virtual machine: everything at once, or on demand by stalls or page
 * requests. `sva`: there is no virtual machine; a host process shares its address space with the device by PASID.
 */
export const MODES = ['static', 'stall', 'pri', 'sva'] as const;
export type Mode = (typeof MODES)[number];

const KiB = 2 ** 10;
const MiB = 2 ** 20;
const GiB = 2 ** 30;

/** Largest message: a descriptor's LENGTH could say more, but a source and a destination must fit beside it. */
export const MESSAGE_BYTES_MAX = GiB;

const LINE_CHARACTERS_MAX = 200;

const NONE = 'none';

function integer(minimum: number, maximum: number) {
  const error = `an integer from ${minimum} to ${maximum}`;
  return z.int({ error }).min(minimum, { error, abort: true }).max(maximum, { error, abort: true });
}

function powerOfTwo(minimum: number, maximum: number) {
  const error = `a power of two from ${minimum} to ${maximum}`;
  return z
    .int({ error })
    .min(minimum, { error, abort: true })
    .max(maximum, { error, abort: true })
    .refine((value) => Number.isInteger(Math.log2(value)), { error, abort: true });
}

/** Text for a heading: no line break or other control character. */
function line(minimum: number) {
  const error = `one line of text, at most ${LINE_CHARACTERS_MAX} characters`;
  const rules = { error, abort: true };
  return z
    .string({ error })
    .min(minimum, rules)
    .max(LINE_CHARACTERS_MAX, rules)
    .regex(/^\P{Cc}*$/u, rules);
}

function oneOf<const T extends readonly [string, ...string[]]>(names: T) {
  return z.enum(names, { error: `one of ${names.join(', ')}` });
}

/** Reads a value with `parse`; what it refuses, or `accepts` does not take, is answered with `error`. */
function parsed<T>(error: string, parse: (value: unknown) => T | null, accepts: (value: T) => boolean = () => true) {
  return z.unknown().transform((value, context): T => {
    const result = parse(value);
    if (result !== null && accepts(result)) return result;
    context.addIssue({ code: 'custom', message: error });
    return z.NEVER;
  });
}

function sizeText(minimum: number, maximum: number, multiple: number): string {
  const step = multiple === 1 ? '' : `, a multiple of ${formatSize(multiple)}`;
  return `a size from ${formatSize(minimum)} to ${formatSize(maximum)}${step} (an integer, or with B, KiB, MiB, GiB)`;
}

function size(minimum: number, maximum: number, multiple = 1) {
  const fits = (bytes: number) => bytes >= minimum && bytes <= maximum && bytes % multiple === 0;
  return parsed(sizeText(minimum, maximum, multiple), sizeOf, fits);
}

/** A size, or `none`: no limit, which comes out as null. */
function limit(minimum: number, maximum: number, multiple = 1) {
  const error = `${NONE}, or ${sizeText(minimum, maximum, multiple)}`;
  const fits = (bytes: number) => bytes >= minimum && bytes <= maximum && bytes % multiple === 0;
  return z.unknown().transform((value, context): number | null => {
    if (value === NONE) return null;
    const bytes = sizeOf(value);
    if (bytes !== null && fits(bytes)) return bytes;
    context.addIssue({ code: 'custom', message: error });
    return z.NEVER;
  });
}

function duration(minimum: number, maximum: number) {
  const error = 'a duration such as 500us, 10ms or 2s (an integer counts nanoseconds)';
  return parsed(error, durationOf, (ns) => ns >= minimum && ns <= maximum);
}

/** Shortest pause between things done again and again: less than any of them takes. */
const INTERVAL_NS_MIN = 1000;

/** A pause between things done again and again, or `none`, which comes out as null. */
function interval() {
  const error = `${NONE}, or a duration of 1us or more such as 500us or 10ms (an integer counts nanoseconds)`;
  return z.unknown().transform((value, context): number | null => {
    if (value === NONE) return null;
    const ns = durationOf(value);
    if (ns !== null && ns >= INTERVAL_NS_MIN && ns <= Number.MAX_SAFE_INTEGER / 2) return ns;
    context.addIssue({ code: 'custom', message: error });
    return z.NEVER;
  });
}

function section<const T extends z.ZodRawShape>(shape: T) {
  return z.strictObject(shape, { error: 'a map of keys' });
}

/** By the value of SMMU_IDR0.HTTU. */
export const HTTU = ['none', 'access', 'dirty'] as const;

const GRANULES = [4096, 16_384, 65_536] as const;
type Granule = (typeof GRANULES)[number];

function granuleOf(value: unknown): Granule | null {
  const bytes = sizeOf(value);
  return GRANULES.find((granule) => granule === bytes) ?? null;
}

const modes = z
  .array(oneOf(MODES), { error: `a list of modes, such as [${MODES.join(', ')}]` })
  .min(1, { error: 'at least one mode' })
  .refine((list) => new Set(list).size === list.length, { error: 'each mode at most once' });

const host = section({
  memory: size(16 * MiB, 256 * GiB, 64 * KiB)
    .prefault('4GiB')
    .describe('Memory of the host.'),
  lockLimit: limit(0, 256 * GiB)
    .prefault(NONE)
    .describe('RLIMIT_MEMLOCK of the process that runs the virtual machine.'),
  swap: size(0, 256 * GiB, 64 * KiB)
    .prefault('4GiB')
    .describe('Swap space of the host.'),
});

const guest = section({
  memory: size(MiB, 64 * GiB, 64 * KiB)
    .prefault('1GiB')
    .describe('Memory of the guest, all of it mapped for the device.'),
});

const iommu = section({
  stage: z.literal([1, 2], { error: '1 or 2' }).default(1).describe("Translation stage that VFIO's mappings use."),
  nested: z
    .boolean({ error: 'true or false' })
    .default(false)
    .describe("The guest has its own stage 1, with its own faults, over VFIO's mappings, which are stage 2 then."),
  granule: parsed('4KiB, 16KiB or 64KiB', granuleOf).prefault('4KiB').describe('Page size of the translation tables.'),
  httu: oneOf(HTTU)
    .default('dirty')
    .describe(
      'What the SMMU keeps in translation tables by itself: nothing, which pages were accessed, or written too.',
    ),
  commandQueueEntries: powerOfTwo(2, 65_536).default(256).describe('Commands that the command queue holds.'),
  eventQueueEntries: powerOfTwo(2, 65_536).default(512).describe('Records that the event queue holds.'),
  priQueueEntries: powerOfTwo(2, 65_536).default(512).describe('Records that the PRI queue holds.'),
  stalls: integer(1, 65_535).default(256).describe('Transactions that may be stalled at one time.'),
});

const device = section({
  ringEntries: powerOfTwo(2, 32_768).default(64).describe('Descriptors in the ring, 64 bytes each.'),
  descriptorsInFlight: integer(1, 256).default(16).describe('Descriptors fetched ahead of completing them.'),
  pagesInFlight: integer(1, 256)
    .default(8)
    .describe('Source pages on their way from memory to the destination at one time.'),
  atcEntries: integer(1, 65_536).default(1024).describe('Translations that the address translation cache holds.'),
  credits: integer(1, 4096).default(512).describe('Page requests that may be outstanding.'),
  groupPages: integer(1, 512).default(32).describe('Most page requests in one group.'),
  ringFaults: z
    .boolean({ error: 'true or false' })
    .default(true)
    .describe('Whether the device can wait for pages of its ring; where it cannot, its driver has them pinned.'),
});

const vfio = section({
  premapPages: integer(1, PREMAP_PAGES_MAX)
    .default(1)
    .describe('Pages mapped for each page that faults, itself counted: 1 is no pre-mapping.'),
  premapPolicy: oneOf(['next', 'aligned', 'stride'])
    .default('next')
    .describe('Which pages those are: the following, the aligned block around, or what the stride of faults predicts.'),
  residencyLimit: limit(64 * KiB, 256 * GiB, 4 * KiB)
    .prefault(NONE)
    .describe('Most memory mapped on demand at one time; pages beyond it are reclaimed.'),
  handling: oneOf(['inline', 'workqueue'])
    .default('workqueue')
    .describe("Where faults are handled: on the thread that reads the IOMMU's queue, or by workers."),
  workers: integer(1, WORKERS_MAX).default(4).describe('Workers of the work queue.'),
  dirtyLog: interval()
    .prefault(NONE)
    .describe('Pause between two readings of the log of pages that the device writes; none: there is no log.'),
});

const sec = section({
  kind: z.literal('sec', { error: 'sec' }).describe('Which workload: AES-256-CTR through the crypto accelerator.'),
  times: integer(1, 1_000_000).default(100).describe('Operations; with an input file, passes over the whole of it.'),
  messageLength: size(1, MESSAGE_BYTES_MAX)
    .prefault('1MiB')
    .describe('Bytes of one operation; with an input file, the most that one operation takes.'),
  buffers: integer(1, 1024).default(2).describe('Pairs of a source and a destination buffer, used in turn.'),
  bufferOffset: integer(0, 4095).default(0).describe('Where in its first page a buffer starts.'),
  queueDepth: integer(1, 32_768).default(2).describe('Most operations in flight.'),
});

export const ScenarioSchema = section({
  name: line(1).optional().describe("Name in reports; the file's when left out."),
  description: line(0).default('').describe('What the scenario shows; the title of the report says it.'),
  seed: integer(0, Number.MAX_SAFE_INTEGER).default(1).describe('Where all chance comes from; also `--seed`.'),
  profile: oneOf(Object.keys(PROFILES) as [string, ...string[]])
    .default('kunpeng920')
    .describe('What each step costs in virtual time.'),
  modes: modes.default(['static', 'stall', 'pri']).describe('Modes to run, in this order; also `--mode`.'),
  timeLimit: duration(1, Number.MAX_SAFE_INTEGER / 2)
    .prefault('1h')
    .describe('Virtual time after which a run that has not ended counts as stuck.'),
  host: host.prefault({}),
  guest: guest.prefault({}),
  iommu: iommu.prefault({}),
  device: device.prefault({}),
  vfio: vfio.prefault({}),
  workload: sec,
}).superRefine((scenario, context) => {
  if (scenario.workload.queueDepth > scenario.device.ringEntries) {
    context.addIssue({
      code: 'custom',
      path: ['workload', 'queueDepth'],
      message: `at most device.ringEntries (${scenario.device.ringEntries})`,
      input: scenario.workload.queueDepth,
    });
  }
});

/** A checked scenario, every default filled in. */
export type Scenario = DeepReadonly<z.output<typeof ScenarioSchema>> & { readonly name: string };

export type SecOptions = Scenario['workload'];

type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T;
