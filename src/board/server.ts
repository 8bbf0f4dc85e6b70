/** The process around a machine: sockets, the log of the traffic, signals. Ends with 0 when a peer goes away. */
import { openSync, writeSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { type Channel, CommandLineError, parseCommandLine } from './command-line.ts';
import { createMachine } from './machine.ts';
import { QmpSession, type QmpTarget } from './qmp-session.ts';
import { QtestSession } from './qtest-session.ts';

/** QEMU's version whose protocols are spoken. */
const PROTOCOL_VERSION = '11.1.0';
/** Bytes taken from the socket at once. */
const READ_BYTES = 0x1_0000;
const EXIT_REFUSED = 1;

/** What a channel needs of the protocol that is spoken on it. */
interface Conversation {
  receive(bytes: Uint8Array): void;
  /** Whether it wants no more bytes until {@link resume}. */
  readonly blocked: boolean;
  /** What was sent is on its way. */
  resume(): void;
}

/** Starts a conversation; `send` says false while the peer does not take what was sent. */
type Open = (send: (text: string) => boolean) => Conversation;

function openChannel(channel: Channel, name: string, open: Open, fail: Fail): void {
  if (channel.kind === 'stdio') converseByStdio(open);
  else if (channel.kind === 'unix' && channel.listen) listen(channel.path, name, open, fail);
  else if (channel.kind === 'unix') dial(channel.path, name, open, fail);
}

function converseByStdio(open: Open): void {
  const { stdin, stdout } = process;
  const conversation = open((text) => stdout.write(text, 'latin1'));
  stdin.on('data', (bytes: Buffer) => {
    conversation.receive(bytes);
    if (conversation.blocked) stdin.pause();
  });
  stdout.on('drain', () => {
    conversation.resume();
    if (!conversation.blocked) stdin.resume();
  });
  stdin.on('end', () => stdout.write('', () => end()));
}

/** Takes one client. */
function listen(file: string, name: string, open: Open, fail: Fail): void {
  const server = createServer((socket) => {
    server.close();
    const conversation = converse(socket, open);
    socket.on('data', (bytes: Buffer) => {
      conversation.receive(bytes);
      if (conversation.blocked) socket.pause();
    });
    socket.on('error', () => {});
  });
  server.on('error', (error) => fail(`${name}: Failed to listen at '${file}': ${error.message}`));
  server.listen(file);
}

/** Connects, as QEMU does to the test that started it. */
function dial(file: string, name: string, open: Open, fail: Fail): void {
  let conversation: Conversation | null = null;
  // The socket reads into one buffer of ours: no stream, no allocation for each request.
  const buffer = new Uint8Array(READ_BYTES);
  const socket = connect({
    path: file,
    onread: {
      buffer,
      callback: (length) => {
        conversation?.receive(buffer.subarray(0, length));
        return conversation?.blocked !== true;
      },
    },
  });
  socket.on('connect', () => {
    conversation = converse(socket, open);
  });
  socket.on('error', (error) => {
    if (conversation === null) fail(`${name}: Failed to connect to '${file}': ${error.message}`);
  });
}

function converse(socket: Socket, open: Open): Conversation {
  const conversation = open((text) => socket.write(text, 'latin1'));
  socket.on('drain', () => {
    conversation.resume();
    if (!conversation.blocked) socket.resume();
  });
  socket.on('close', end);
  return conversation;
}

type Fail = (message: string) => never;

function end(): never {
  process.exit(0);
}

/** The traffic as QEMU logs it: `[R +seconds] request`, `[S +seconds] reply`. */
function trafficLog(file: string, fail: Fail): (direction: 'R' | 'S', text: string) => void {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'a');
  } catch (error) {
    return fail(`-qtest-log: ${(error as Error).message}`);
  }
  const began = process.hrtime.bigint();
  return (direction, text) => {
    const seconds = Number(process.hrtime.bigint() - began) / 1e9;
    const lines = text.split('\n').filter((line) => line !== '');
    try {
      writeSync(descriptor, lines.map((line) => `[${direction} +${seconds.toFixed(6)}] ${line}\n`).join(''));
    } catch (error) {
      fail(`-qtest-log: ${(error as Error).message}`);
    }
  };
}

/**
 * Serves the machine that QEMU's arguments `words` describe until a peer goes away; `program` names it in messages.
 * Resolves once it listens; the process ends by itself.
 */
export async function serve(words: readonly string[], program: string): Promise<void> {
  const fail: Fail = (message) => {
    process.stderr.write(`${program}: ${message}\n`);
    process.exit(EXIT_REFUSED);
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  try {
    await start(words, fail);
  } catch (error) {
    if (!(error instanceof CommandLineError)) throw error;
    fail(error.message);
  }
}

async function start(words: readonly string[], fail: Fail): Promise<void> {
  const commandLine = parseCommandLine(words, PROTOCOL_VERSION);
  if (commandLine.print !== null) {
    process.stdout.write(commandLine.print);
    return;
  }
  let session: QtestSession | null = null;
  const machine = await createMachine(commandLine, PROTOCOL_VERSION, {
    interrupt: (line, level) => session?.interrupt(line, level),
    quit: end,
  });
  const log = commandLine.qtestLog === null ? null : trafficLog(commandLine.qtestLog, fail);
  const open: Open = (send) => {
    const opened = new QtestSession(
      machine.qtest,
      log === null
        ? send
        : (replies) => {
            log('S', replies);
            return send(replies);
          },
    );
    session = opened;
    if (log === null) return opened;
    return {
      receive: (bytes) => {
        log('R', Buffer.from(bytes).toString('latin1'));
        opened.receive(bytes);
      },
      get blocked() {
        return opened.blocked;
      },
      resume: () => opened.resume(),
    };
  };
  openChannel(commandLine.qtest, 'qtest', open, fail);
  for (const monitor of commandLine.monitors) {
    openChannel(monitor, 'monitor', (send) => new MonitorConversation(machine.qmp, send), fail);
  }
}

/** A monitor's answers are short: they never wait. */
class MonitorConversation implements Conversation {
  readonly #session: QmpSession;
  readonly blocked = false;

  constructor(target: QmpTarget, send: (text: string) => boolean) {
    this.#session = new QmpSession(target, (text) => send(text));
  }

  receive(bytes: Uint8Array): void {
    this.#session.receive(Buffer.from(bytes).toString('latin1'));
  }

  resume(): void {}
}
