/** Starts a qtest server as QEMU's libqtest does, ours or QEMU, and ends it as libqtest does. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ROOT } from '../house/source-files.ts';
import { QmpClient } from './qmp-client.ts';
import { QtestClient } from './qtest-client.ts';

/** A program that can be started in QEMU's place. */
export interface Emulator {
  readonly name: 'faultline' | 'qemu';
  /** What `sh -c "exec ..."` is given before the arguments. */
  readonly command: string;
  /** E.g. `11.1.3`. */
  readonly version: string;
  /** Whether the monitor is an object (11.1 and later) or a `-mon`. */
  readonly monitorObject: boolean;
  /** Whether it has iommu-testdev (QEMU 11.1 and later). */
  readonly testDevice: boolean;
}

const START_LIMIT_MS = 50_000;

const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

/** Ours, as built by `npm run build`. */
export const FAULTLINE: Emulator = {
  name: 'faultline',
  command: `${quote(process.execPath)} ${quote(path.join(ROOT, 'dist/cli/qemu-system-aarch64.js'))}`,
  version: 'this tree',
  monitorObject: true,
  testDevice: true,
};

function executable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

const run = (file: string, ...words: string[]) => spawnSync(file, words, { encoding: 'utf8' });

/** Some distributions leave the qtest accelerator out, and `-accel help` does not show it in others. */
function hasQtest(file: string): boolean {
  const words = ['-accel', 'qtest', '-machine', 'none', '-display', 'none', '-qmp', 'stdio'];
  return spawnSync(file, words, { input: '{"execute":"qmp_capabilities"}{"execute":"quit"}' }).status === 0;
}

/** What `file` is, when it is a QEMU that can be compared with. */
function inspect(file: string): Emulator | null {
  const version = /^QEMU emulator version (\d+)\.(\d+)([.\d]*)/.exec(run(file, '--version').stdout ?? '');
  const [, major = '0', minor = '0', rest = ''] = version ?? [];
  if (Number(major) < 10 || !hasQtest(file)) return null;
  const device = process.env['FAULTLINE_PEER_DEVICE'] ?? 'iommu-testdev';
  return {
    name: 'qemu',
    command: quote(file),
    version: `${major}.${minor}${rest}`,
    monitorObject: Number(major) * 100 + Number(minor) >= 1101,
    testDevice: device === 'iommu-testdev' && run(file, '-device', 'iommu-testdev,help').status === 0,
  };
}

/**
 * The QEMU to compare with: `FAULTLINE_QEMU`, what `scripts/get-qemu` brought, or PATH. Null when there is none of
 * version 10 or newer with the qtest accelerator. `FAULTLINE_PEER_DEVICE=edu` leaves iommu-testdev unused.
 *
 * @throws Error when `FAULTLINE_QEMU` names something else.
 */
export function findQemu(): Emulator | null {
  const named = process.env['FAULTLINE_QEMU'];
  const folders = (process.env['PATH'] ?? '').split(path.delimiter).filter((folder) => folder !== '');
  const candidates = named
    ? [named]
    : [path.join(ROOT, '.peer'), ...folders].map((folder) => path.join(folder, 'qemu-system-aarch64'));
  for (const file of candidates.filter(executable)) {
    const found = inspect(file);
    if (found !== null) return found;
  }
  if (named) throw new Error(`FAULTLINE_QEMU=${named} is no QEMU of version 10 or newer with -accel qtest`);
  return null;
}

interface Listening {
  readonly file: string;
  readonly accepted: Promise<Socket>;
  readonly server: Server;
}

async function listen(file: string): Promise<Listening> {
  const server = createServer();
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(file, resolve);
  });
  return { file, accepted, server };
}

export interface StartOptions {
  /** Machine, devices and the rest, without what the harness adds. */
  readonly arguments: readonly string[];
  /** Pin the server to this processor. */
  readonly processor?: number;
}

/** A started server with both its sockets. */
export class PeerServer {
  readonly emulator: Emulator;
  readonly qtest: QtestClient;
  readonly qmp: QmpClient;
  /** Milliseconds from start to the first answer. */
  readonly startMs: number;
  readonly #child: ChildProcess;
  readonly #exit: Promise<number | null>;
  readonly #output: () => { stdout: string; stderr: string };

  private constructor(
    emulator: Emulator,
    qtest: QtestClient,
    qmp: QmpClient,
    startMs: number,
    child: ChildProcess,
    exit: Promise<number | null>,
    output: () => { stdout: string; stderr: string },
  ) {
    this.emulator = emulator;
    this.qtest = qtest;
    this.qmp = qmp;
    this.startMs = startMs;
    this.#child = child;
    this.#exit = exit;
    this.#output = output;
  }

  /** @throws Error with what the server wrote when it ends or stays silent instead of connecting. */
  static async start(emulator: Emulator, options: StartOptions): Promise<PeerServer> {
    const folder = mkdtempSync(path.join(tmpdir(), 'faultline-peer-'));
    const [qtest, qmp] = await Promise.all([listen(path.join(folder, 'qtest')), listen(path.join(folder, 'qmp'))]);
    const monitor = emulator.monitorObject
      ? ['-object', 'monitor-qmp,id=qmp0,chardev=char0']
      : ['-mon', 'chardev=char0,mode=control'];
    const words = [
      ...['-qtest', `unix:${qtest.file}`, '-qtest-log', '/dev/null'],
      ...['-chardev', `socket,path=${qmp.file},id=char0`, ...monitor],
      ...['-display', 'none', '-audio', 'none'],
      ...(emulator.monitorObject ? ['-run-with', 'exit-with-parent=on'] : []),
      ...options.arguments,
      ...['-accel', 'qtest'],
    ];
    const pin = options.processor === undefined ? '' : `taskset -c ${options.processor} `;
    const began = performance.now();
    const child = spawn('sh', ['-c', `exec ${pin}${emulator.command} ${words.map(quote).join(' ')}`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const written = { stdout: '', stderr: '' };
    child.stdout?.on('data', (text) => {
      written.stdout += String(text);
    });
    child.stderr?.on('data', (text) => {
      written.stderr += String(text);
    });
    const exit = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
    let timer: NodeJS.Timeout | undefined;
    try {
      const failed = Promise.race([
        exit.then((code) => Promise.reject(new Error(`ended with ${code}: ${written.stderr.trim()}`))),
        new Promise<never>((_, reject) => {
          timer = setTimeout(() => reject(new Error('did not connect')), START_LIMIT_MS);
        }),
      ]);
      const sockets = await Promise.race([Promise.all([qtest.accepted, qmp.accepted]), failed]);
      const client = new QtestClient(sockets[0]);
      const monitorClient = new QmpClient(sockets[1]);
      await Promise.race([Promise.all([client.request('endianness'), monitorClient.handshake()]), failed]);
      const startMs = performance.now() - began;
      return new PeerServer(emulator, client, monitorClient, startMs, child, exit, () => written);
    } catch (error) {
      child.kill('SIGKILL');
      throw new Error(`${emulator.name}: ${error instanceof Error ? error.message : String(error)}`);
    } finally {
      clearTimeout(timer);
      qtest.server.close();
      qmp.server.close();
      rmSync(folder, { recursive: true, force: true });
    }
  }

  /** SIGTERM, as libqtest ends a server; its exit status and what it wrote. */
  async stop(): Promise<{ readonly status: number | null; readonly stdout: string; readonly stderr: string }> {
    this.#child.kill('SIGTERM');
    const status = await this.#exit;
    this.qtest.close();
    this.qmp.close();
    return { status, ...this.#output() };
  }

  /** Its process: the shell that started it became it. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Whether the connection is lost. */
  get gone(): boolean {
    return this.qtest.gone;
  }

  /** Ends when the server does; for tests that end it in another way. */
  get exited(): Promise<number | null> {
    return this.#exit;
  }
}
