/** The client's end of QEMU's qtest protocol: one line each way, replies in the order of the requests. */
import type { Socket } from 'node:net';

/** A reply that is not `OK`. */
export class QtestError extends Error {
  override readonly name = 'QtestError';
}

/** A change of an intercepted interrupt line. */
export interface LineChange {
  readonly line: number;
  readonly level: boolean;
}

interface Waiter {
  readonly request: string;
  readonly resolve: (reply: string) => void;
  readonly reject: (error: Error) => void;
}

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/**
 * Requests may be sent without waiting for replies: those of one turn of the event loop travel in one write. Interrupt
 * lines are collected until they are taken.
 */
export class QtestClient {
  readonly #socket: Socket;
  readonly #waiters: Waiter[] = [];
  #head = 0;
  #unsent = '';
  #partial = '';
  #lineChanges: LineChange[] = [];
  #gone: Error | null = null;
  /** First failure of a posted line. */
  #failure: Error | null = null;
  readonly #afterLast: (() => void)[] = [];

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => this.#receive(text));
    socket.on('close', () => this.#fail(new QtestError('the server closed the connection')));
    socket.on('error', (error) => this.#fail(error));
  }

  /** Sends a line and gives the text after `OK`, without the blank. Rejects with {@link QtestError} otherwise. */
  request(line: string): Promise<string> {
    return new Promise((resolve, reject) => {
      if (this.#gone !== null) return reject(this.#gone);
      if (this.#unsent === '') queueMicrotask(() => this.#flush());
      this.#unsent += `${line}\n`;
      this.#waiters.push({ request: line, resolve, reject });
    });
  }

  /** Sends a line and waits for nothing; a failure shows in the next {@link settled}. */
  post(line: string): void {
    this.request(line).catch((error: Error) => {
      this.#failure ??= error;
    });
  }

  /** Resolves when everything sent so far is answered; rejects with the first failure of a posted line. */
  async settled(): Promise<void> {
    const last = this.#waiters.at(-1);
    if (last !== undefined) await new Promise<void>((resolve) => this.#afterLast.push(resolve));
    const failure = this.#failure ?? this.#gone;
    this.#failure = null;
    if (failure !== null) throw failure;
  }

  /** Sends bytes as they are; nobody waits for what the server says to them. For tests of the protocol itself. */
  sendRaw(bytes: Uint8Array | string): void {
    this.#flush();
    this.#socket.write(bytes);
  }

  async read32(address: number): Promise<number> {
    return Number(await this.request(`readl ${hex(address)}`));
  }

  async read64(address: number): Promise<bigint> {
    return BigInt(await this.request(`readq ${hex(address)}`));
  }

  write32(address: number, value: number): void {
    this.post(`writel ${hex(address)} ${hex(value)}`);
  }

  write64(address: number, value: bigint): void {
    this.post(`writeq ${hex(address)} ${hex(value)}`);
  }

  async readBytes(address: number, length: number): Promise<Buffer> {
    return Buffer.from((await this.request(`read ${hex(address)} ${hex(length)}`)).slice(2), 'hex');
  }

  writeBytes(address: number, bytes: Uint8Array): void {
    const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
    this.post(`write ${hex(address)} ${hex(bytes.length)} 0x${data}`);
  }

  fill(address: number, length: number, value: number): void {
    this.post(`memset ${hex(address)} ${hex(length)} ${hex(value)}`);
  }

  /** Moves virtual time by `ns`, or to the next timer; gives the instant reached. */
  async clockStep(ns?: number): Promise<bigint> {
    return BigInt(await this.request(ns === undefined ? 'clock_step' : `clock_step ${ns}`));
  }

  /** Interrupt lines that changed since the last call, in order. Complete once every request is answered. */
  takeLineChanges(): LineChange[] {
    const taken = this.#lineChanges;
    this.#lineChanges = [];
    return taken;
  }

  /** Whether the connection is lost. */
  get gone(): boolean {
    return this.#gone !== null;
  }

  close(): void {
    this.#socket.destroy();
  }

  #flush(): void {
    if (this.#unsent === '') return;
    this.#socket.write(this.#unsent, 'latin1');
    this.#unsent = '';
  }

  #receive(text: string): void {
    const all = this.#partial + text;
    let start = 0;
    for (let end = all.indexOf('\n', start); end >= 0; end = all.indexOf('\n', start)) {
      this.#line(all.slice(start, end));
      start = end + 1;
    }
    this.#partial = all.slice(start);
  }

  #line(line: string): void {
    if (line.startsWith('IRQ ')) {
      const [, verb, number] = line.split(' ');
      this.#lineChanges.push({ line: Number(number), level: verb === 'raise' });
      return;
    }
    const waiter = this.#waiters[this.#head];
    if (waiter === undefined) return;
    this.#head += 1;
    if (line === 'OK') waiter.resolve('');
    else if (line.startsWith('OK ')) waiter.resolve(line.slice(3));
    else waiter.reject(new QtestError(`${waiter.request.slice(0, 200)}: ${line}`));
    if (this.#head === this.#waiters.length) this.#allAnswered();
  }

  #allAnswered(): void {
    this.#waiters.length = 0;
    this.#head = 0;
    // Rejections reach `post` first: they were queued before.
    for (const resolve of this.#afterLast.splice(0)) queueMicrotask(() => queueMicrotask(resolve));
  }

  #fail(error: Error): void {
    if (this.#gone !== null) return;
    this.#gone = error;
    for (const waiter of this.#waiters.slice(this.#head)) waiter.reject(error);
    this.#allAnswered();
  }
}
