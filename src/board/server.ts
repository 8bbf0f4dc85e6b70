/** The process around a machine: sockets, the log of the traffic, signals. Ends with 0 when a peer goes away. */
import { openSync, writeSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { type Channel, CommandLineError, parseCommandLine } from './command-line.ts';
import { createMachine } from './machine.ts';
import { QmpSession } from './qmp-session.ts';
import { QtestSession } from './qtest-session.ts';

/** QEMU's version whose protocols are spoken. */
const PROTOCOL_VERSION = '11.1.0';
/** Bytes taken from the socket at once. */
const READ_BYTES = 0x1_0000;
const EXIT_REFUSED = 1;

interface Connection {
  send(text: string): void;
}

type Receive = (bytes: Uint8Array) => void;

/** Opens `channel`; `open` gets the connection and gives what receives its bytes. */
function openChannel(channel: Channel, name: string, open: (connection: Connection) => Receive, fail: Fail): void {
  if (channel.kind === 'none') return;
  if (channel.kind === 'stdio') {
    const receive = open({ send: (text) => void process.stdout.write(text, 'latin1') });
    process.stdin.on('data', (bytes: Buffer) => receive(bytes));
    process.stdin.on('end', () => end());
    return;
  }
  const serve = (socket: Socket, receive: Receive | null): Receive => {
    socket.on('close', () => end());
    return receive ?? open({ send: (text) => void socket.write(text, 'latin1') });
  };
  if (channel.listen) {
    const server = createServer((socket) => {
      server.close();
      const receive = serve(socket, null);
      socket.on('data', (bytes: Buffer) => receive(bytes));
      socket.on('error', () => {});
    });
    server.on('error', (error) => fail(`${name}: ${error.message}`));
    server.listen(channel.path);
    return;
  }
  // The socket reads into one buffer of ours: no stream, no allocation for each request.
  const buffer = new Uint8Array(READ_BYTES);
  let receive: Receive = () => {};
  const socket = connect({
    path: channel.path,
    onread: {
      buffer,
      callback: (length) => {
        receive(buffer.subarray(0, length));
        return true;
      },
    },
  });
  socket.on('connect', () => {
    receive = serve(socket, null);
  });
  let connected = false;
  socket.on('connect', () => {
    connected = true;
  });
  socket.on('error', (error) => {
    if (!connected) fail(`${name}: Failed to connect to '${channel.path}': ${error.message}`);
  });
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
    writeSync(descriptor, lines.map((line) => `[${direction} +${seconds.toFixed(6)}] ${line}\n`).join(''));
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
  const open = (connection: Connection): Receive => {
    const opened = new QtestSession(machine.qtest);
    session = opened;
    if (log === null) {
      return (bytes) => {
        const replies = opened.receive(bytes);
        if (replies !== '') connection.send(replies);
      };
    }
    return (bytes) => {
      log('R', Buffer.from(bytes).toString('latin1'));
      const replies = opened.receive(bytes);
      log('S', replies);
      if (replies !== '') connection.send(replies);
    };
  };
  openChannel(commandLine.qtest, 'qtest', open, fail);
  for (const monitor of commandLine.monitors) {
    openChannel(
      monitor,
      'monitor',
      (connection) => {
        const qmp = new QmpSession(machine.qmp, (text) => connection.send(text));
        return (bytes) => qmp.receive(Buffer.from(bytes).toString('latin1'));
      },
      fail,
    );
  }
}
