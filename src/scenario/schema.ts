/**
 * What a scenario says, with its limits and defaults. Every check carries the words that an error message completes:
 * "expected ...". Sizes come out in bytes, durations in nanoseconds.
 */
import { z } from 'zod';
import { PROFILES } from '../sim/profiles.ts';
import { PREMAP_PAGES_MAX, WORKERS_MAX } from '../vfio/uapi-extensions.layout.ts';
import { durationOf, formatSize, sizeOf } from './quantity.ts';

/** How the device's memory is made available: everything at once, or on demand by stalls or page requests. */
export const MODES = ['static', 'stall', 'pri'] as const;
export type Mode = (typeof MODES)[number];

const KiB = 2 ** 10;
const MiB = 2 ** 20;
const GiB = 2 ** 30;

/** Largest message: a descriptor's LENGTH could say more, but a source and a destination must fit beside it. */
export const MESSAGE_BYTES_MAX = GiB;

const NONE = 'none';

function integer(minimum: number, maximum: number) {
  const error = `an integer from ${minimum} to ${maximum}`;
  return z.int({ error }).min(minimum, { error }).max(maximum, { error });
}

function powerOfTwo(minimum: number, maximum: number) {
  const error = `a power of two from ${minimum} to ${maximum}`;
  return z
    .int({ error })
    .min(minimum, { error })
    .max(maximum, { error })
    .refine((value) => Number.isInteger(Math.log2(value)), { error });
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

function section<const T extends z.ZodRawShape>(shape: T) {
  return z.strictObject(shape, { error: 'a map of keys' });
}

const GRANULES = [4 * KiB, 16 * KiB, 64 * KiB] as const;
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
  /** Memory of the host. */
  memory: size(16 * MiB, 256 * GiB, 64 * KiB).default(4 * GiB),
  /** RLIMIT_MEMLOCK of the process that runs the virtual machine. */
  lockLimit: limit(0, 256 * GiB).default(null),
  /** Swap space. */
  swap: size(0, 256 * GiB, 64 * KiB).default(4 * GiB),
});

const guest = section({
  /** Memory of the guest, all of it mapped for the device. */
  memory: size(MiB, 64 * GiB, 64 * KiB).default(GiB),
});

const iommu = section({
  /** Translation stage that VFIO's mappings use. */
  stage: z.literal([1, 2], { error: '1 or 2' }).default(1),
  /** Page size of the translation tables. */
  granule: parsed('4KiB, 16KiB or 64KiB', granuleOf).default(4 * KiB),
  /** Records that each queue holds. */
  commandQueueEntries: powerOfTwo(2, 65_536).default(256),
  eventQueueEntries: powerOfTwo(2, 65_536).default(512),
  priQueueEntries: powerOfTwo(2, 65_536).default(512),
  /** Transactions that may be stalled at one time. */
  stalls: integer(1, 65_535).default(256),
});

const device = section({
  /** Descriptors in the ring, 64 bytes each. */
  ringEntries: powerOfTwo(2, 32_768).default(64),
  /** Descriptors that the device fetches ahead of completing them. */
  descriptorsInFlight: integer(1, 256).default(16),
  /** Source pages on their way from memory to the destination at the same time. */
  pagesInFlight: integer(1, 256).default(8),
  /** Translations that the address translation cache holds. */
  atcEntries: integer(1, 65_536).default(1024),
  /** Page requests that may be outstanding. */
  credits: integer(1, 4096).default(512),
  /** Most page requests in one group. */
  groupPages: integer(1, 512).default(32),
});

const vfio = section({
  /** Pages mapped for each page that faults, itself counted: 1 is no pre-mapping. */
  premapPages: integer(1, PREMAP_PAGES_MAX).default(1),
  /** Which pages those are: the following ones, the aligned block, or what the stride of earlier faults predicts. */
  premapPolicy: oneOf(['next', 'aligned', 'stride']).default('next'),
  /** Most memory mapped on demand at one time; pages beyond it are reclaimed. */
  residencyLimit: limit(64 * KiB, 256 * GiB, 4 * KiB).default(null),
  /** Where faults are handled: on the thread that reads the IOMMU's queue, or by workers. */
  handling: oneOf(['inline', 'workqueue']).default('workqueue'),
  /** Workers of the work queue. */
  workers: integer(1, WORKERS_MAX).default(4),
});

const sec = section({
  kind: z.literal('sec', { error: 'sec' }),
  /** Operations; with an input file, passes over the whole of it. */
  times: integer(1, 1_000_000).default(100),
  /** Bytes of one operation; with an input file, the most that one operation takes. */
  messageLength: size(1, MESSAGE_BYTES_MAX).default(MiB),
  /** Pairs of a source and a destination buffer, used in turn. */
  buffers: integer(1, 1024).default(2),
  /** Where in its first page a buffer starts. */
  bufferOffset: integer(0, 4095).default(0),
  /** Most operations in flight. */
  queueDepth: integer(1, 32_768).default(2),
});

export const ScenarioSchema = section({
  name: z.string({ error: 'a text' }).min(1, { error: 'a text' }).max(200, { error: 'a short text' }).optional(),
  description: z.string({ error: 'a text' }).default(''),
  seed: integer(0, Number.MAX_SAFE_INTEGER).default(1),
  profile: oneOf(Object.keys(PROFILES) as [string, ...string[]]).default('kunpeng920'),
  modes: modes.default([...MODES]),
  /** Virtual time after which a run that has not ended counts as stuck. */
  timeLimit: duration(1, Number.MAX_SAFE_INTEGER / 2).default(3600e9),
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
