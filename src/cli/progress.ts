/** A progress bar on stderr, for people only: nothing is drawn where stderr is no terminal. */
import cliProgress from 'cli-progress';

export interface Progress {
  /** How much is done, and of how much, of what is called `name`. */
  update(name: string, done: number, total: number): void;
  stop(): void;
}

export const NO_PROGRESS: Progress = { update: () => undefined, stop: () => undefined };

/** What a bar counts in. */
export interface Unit {
  readonly name: string;
  readonly size: number;
}

const MEGABYTES: Unit = { name: 'MB', size: 1e6 };
export const ROWS_OF_A_SUITE: Unit = { name: 'rows', size: 1 };

/** Counts bytes unless told otherwise. */
export function terminalProgress(stream: NodeJS.WriteStream, { name: unit, size }: Unit = MEGABYTES): Progress {
  const bar = new cliProgress.SingleBar({
    stream,
    format: `{name} [{bar}] {percentage} % of {total} ${unit}`,
    barCompleteChar: '=',
    barIncompleteChar: ' ',
    barsize: 40,
    hideCursor: true,
    clearOnComplete: true,
    // The run is one synchronous piece: timers would never draw.
    synchronousUpdate: true,
  });
  let current: string | null = null;
  const stop = () => {
    if (current !== null) bar.stop();
    current = null;
  };
  return {
    update: (name, done, total) => {
      if (name !== current) {
        stop();
        current = name;
        bar.start(Math.ceil(total / size), 0, { name });
      }
      bar.update(Math.floor(done / size));
    },
    stop,
  };
}
