/** A progress bar on stderr, for people only: nothing is drawn where stderr is no terminal. */
import cliProgress from 'cli-progress';

export interface Progress {
  /** Bytes of output done and in all, for the run called `mode`. */
  update(mode: string, doneBytes: number, totalBytes: number): void;
  stop(): void;
}

export const NO_PROGRESS: Progress = { update: () => undefined, stop: () => undefined };

const MB = 1e6;

export function terminalProgress(stream: NodeJS.WriteStream): Progress {
  const bar = new cliProgress.SingleBar({
    stream,
    format: '{mode} [{bar}] {percentage} % of {total} MB',
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
    update: (mode, doneBytes, totalBytes) => {
      if (mode !== current) {
        stop();
        current = mode;
        bar.start(Math.ceil(totalBytes / MB), 0, { mode });
      }
      bar.update(Math.floor(doneBytes / MB));
    },
    stop,
  };
}
