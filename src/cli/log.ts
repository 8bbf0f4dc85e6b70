/** Log set-up: levels per layer, NDJSON with virtual time to a file or stderr, pretty when a person watches. */
import { closeSync, openSync, type Stats, statSync, writeSync } from 'node:fs';
import { type DestinationStream, pino } from 'pino';
import { prettyFactory } from 'pino-pretty';
import { describeValue, InputError, nearest } from '../scenario/input-error.ts';
import { reasonOf } from '../scenario/read-file.ts';
import type { Clock } from '../sim/clock.ts';
import { LAYERS, type Layer, type Log, type LogOf } from '../sim/log.ts';

export const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type Level = (typeof LEVELS)[number];

export type LayerLevels = Readonly<Record<Layer, Level>>;

/** Lines wait for one write up to this many characters. */
const BUFFER_CHARACTERS = 65_536;

/**
 * Reads `info`, or `iommu=debug,vfio=info`, or both: a level alone is for every layer that is not named; without one those
 * stay silent.
 *
 * @throws InputError
 */
export function parseLevels(text: string): LayerLevels {
  const refuse = (what: string) => new InputError(`--log ${text}: ${what}`);
  const levels: Partial<Record<Layer, Level>> = {};
  let others: Level | null = null;
  for (const part of text.split(',')) {
    const [first = '', second, ...rest] = part.split('=').map((word) => word.trim());
    if (rest.length > 0) throw refuse(`expected LAYER=LEVEL, found ${describeValue(part)}`);
    const level = LEVELS.find((name) => name === (second ?? first));
    if (level === undefined && second === undefined && LAYERS.some((name) => name === first)) {
      throw refuse(`expected a level for the layer, such as ${first}=debug`);
    }
    if (level === undefined) {
      throw refuse(`expected a level, one of ${LEVELS.join(', ')}${found(second ?? first, LEVELS)}`);
    }
    if (second === undefined) {
      if (others !== null) throw refuse('expected one level for all layers, found two');
      others = level;
      continue;
    }
    const layer = LAYERS.find((name) => name === first);
    if (layer === undefined) throw refuse(`expected a layer, one of ${LAYERS.join(', ')}${found(first, LAYERS)}`);
    if (levels[layer] !== undefined) throw refuse(`expected one level for ${layer}, found two`);
    levels[layer] = level;
  }
  return Object.fromEntries(LAYERS.map((layer) => [layer, levels[layer] ?? others ?? 'silent'])) as LayerLevels;
}

function found(word: string, candidates: readonly string[]): string {
  const meant = nearest(word, candidates);
  return `, found ${describeValue(word)}${meant === null || meant === word ? '' : `; did you mean "${meant}"?`}`;
}

/** Where the logs of all runs go. */
export interface LogSink {
  /** The loggers of one run; each line carries its `mode`. */
  logs(mode: string): (clock: Clock) => LogOf;
  /** Writes what waits; the first error that writing met, in words, or null. */
  close(): string | null;
}

/** Discards everything; every level is off. */
export const NO_LOGS: LogSink = {
  logs: () => () => () => pino({ level: 'silent' }),
  close: () => null,
};

export interface LogSinkOptions {
  readonly levels: LayerLevels;
  /** A file that is replaced; null for stderr. */
  readonly file: string | null;
  /** For a person: one readable line per event, in place of NDJSON. */
  readonly pretty: boolean;
  readonly colour: boolean;
}

/** A log must not replace what the run has read. `read`: file names by what they are. @throws InputError */
export function refuseToReplace(logFile: string, read: Readonly<Record<string, string | undefined>>): void {
  const target = statusOf(logFile);
  if (target?.isFile() !== true) return;
  for (const [what, file] of Object.entries(read)) {
    const other = file === undefined ? null : statusOf(file);
    if (other !== null && other.dev === target.dev && other.ino === target.ino) {
      throw new InputError(`--log-file ${logFile}: is the ${what}, which the log would replace; expected another file`);
    }
  }
}

/** Null where there is no answer: opening the file will say why. */
function statusOf(file: string): Stats | null {
  try {
    return statSync(file);
  } catch {
    return null;
  }
}

/** @throws InputError when the file cannot be opened. */
export function openLogSink(options: LogSinkOptions): LogSink {
  const output = new BufferedOutput(options.file, !options.pretty);
  const destination = options.pretty ? prettyInto(output, options.colour) : output;
  return {
    logs: (mode) => (clock) => {
      const root = pino(
        {
          base: null,
          level: 'trace',
          timestamp: () => `,"t":${clock.now}`,
          formatters: { level: (label) => ({ level: label }) },
        },
        destination,
      ).child({ mode });
      const loggers = new Map<Layer, Log>();
      return (layer) => {
        const known = loggers.get(layer) ?? root.child({ layer }, { level: options.levels[layer] });
        loggers.set(layer, known);
        return known;
      };
    },
    close: () => output.close(),
  };
}

/** A destination that writes synchronously, in large pieces, so that bytes and order are the same in every run. */
class BufferedOutput implements DestinationStream {
  readonly #file: string | null;
  readonly #descriptor: number;
  readonly #limit: number;
  #waiting = '';
  #error: unknown = null;

  constructor(file: string | null, buffered: boolean) {
    this.#file = file;
    this.#limit = buffered ? BUFFER_CHARACTERS : 0;
    try {
      this.#descriptor = file === null ? 2 : openSync(file, 'w');
    } catch (error) {
      if (file === '') throw new InputError('--log-file : expected the name of a file, found nothing');
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      throw new InputError(`--log-file ${file}: ${missing ? 'there is no such folder' : reasonOf(error)}`);
    }
  }

  write(text: string): void {
    this.#waiting += text;
    if (this.#waiting.length > this.#limit) this.#flush();
  }

  close(): string | null {
    this.#flush();
    if (this.#file !== null) closeSync(this.#descriptor);
    // A reader of stderr that went away is no error of the run.
    if (this.#error === null || (this.#error as NodeJS.ErrnoException).code === 'EPIPE') return null;
    return `${this.#file === null ? 'stderr' : `--log-file ${this.#file}`}: ${reasonOf(this.#error)}`;
  }

  #flush(): void {
    const bytes = Buffer.from(this.#waiting);
    this.#waiting = '';
    for (let done = 0; done < bytes.length && this.#error === null; ) {
      try {
        done += writeSync(this.#descriptor, bytes, done);
      } catch (error) {
        // A pipe that is full for the moment: its reader will come round.
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') this.#error = error;
      }
    }
  }
}

function prettyInto(output: DestinationStream, colorize: boolean): DestinationStream {
  const format = prettyFactory({
    colorize,
    timestampKey: 't',
    translateTime: false,
    singleLine: true,
    ignore: 'mode,layer,event',
    messageFormat: '{mode} {layer} {event}',
  });
  return { write: (line: string) => output.write(format(line)) };
}
