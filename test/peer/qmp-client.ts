/** The client's end of QMP, as far as a device test needs it: greeting, capabilities, commands, events. */
import type { Socket } from 'node:net';

type Json = Readonly<Record<string, unknown>>;

interface Waiter {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class QmpClient {
  readonly #socket: Socket;
  readonly #replies: Waiter[] = [];
  readonly #events: { readonly name: string; readonly waiter: Waiter }[] = [];
  readonly #greeting: Promise<Json>;
  #greet: ((greeting: Json) => void) | null = null;
  #partial = '';

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#greeting = new Promise((resolve) => {
      this.#greet = resolve;
    });
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#receive(text));
    socket.on('close', () => this.#fail(new Error('the server closed its monitor')));
    socket.on('error', (error) => this.#fail(error));
  }

  /** Waits for the greeting and leaves negotiation mode; the greeting's `QMP` object. */
  async handshake(): Promise<Json> {
    const { QMP } = await this.#greeting;
    await this.execute('qmp_capabilities');
    return QMP as Json;
  }

  /** Runs a command; rejects with the error's description. */
  execute(command: string, args?: Json): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#replies.push({ resolve, reject });
      this.#socket.write(`${JSON.stringify({ execute: command, ...(args && { arguments: args }) })}\n`);
    });
  }

  /** Resets the machine and waits until that is done. */
  async systemReset(): Promise<void> {
    const done = this.nextEvent('RESET');
    await this.execute('system_reset');
    await done;
  }

  /** The data of the next event called `name`. */
  nextEvent(name: string): Promise<unknown> {
    return new Promise((resolve, reject) => this.#events.push({ name, waiter: { resolve, reject } }));
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(text: string): void {
    const lines = (this.#partial + text).split('\n');
    this.#partial = lines.pop() ?? '';
    for (const line of lines) if (line.trim() !== '') this.#message(JSON.parse(line) as Json);
  }

  #message(message: Json): void {
    if ('QMP' in message) this.#greet?.(message);
    else if ('event' in message) {
      const index = this.#events.findIndex(({ name }) => name === message['event']);
      if (index >= 0) this.#events.splice(index, 1)[0]?.waiter.resolve(message['data']);
    } else if ('error' in message) {
      this.#replies.shift()?.reject(new Error((message['error'] as { desc: string }).desc));
    } else this.#replies.shift()?.resolve(message['return']);
  }

  #fail(error: Error): void {
    for (const { reject } of this.#replies.splice(0)) reject(error);
    for (const { waiter } of this.#events.splice(0)) waiter.reject(error);
  }
}
