/**
 * The server's end of the qtest protocol, over bytes: requests in, replies out, in order. QEMU stops at a request that
 * it cannot parse; this answers `FAIL` and goes on. Messages that QEMU has are worded as there.
 */
import type { AccessSize } from '../hw/bus.ts';
import { QtestLine } from './qtest-line.ts';

/** What a session drives. Addresses are physical; what nobody answers reads as zero and ignores writes. */
export interface QtestTarget {
  /** Virtual nanoseconds. */
  readonly now: number;
  /** The instant of the next timer, or Infinity. */
  readonly nextTimer: number;
  /** Runs what is due now. */
  settle(): void;
  /** Moves virtual time to `instantNs` and runs everything up to it. */
  advance(instantNs: number): void;
  /** Reads into the first bytes of `data`. */
  readSized(address: number, size: AccessSize, data: DataView): void;
  writeSized(address: number, size: AccessSize, data: DataView): void;
  /** Reads into the first `length` bytes of `target`. */
  read(address: number, target: Uint8Array, length: number): void;
  write(address: number, source: Uint8Array, length: number): void;
  fill(address: number, length: number, value: number): void;
  /** Reports changes of a device's inputs or outputs from now on: an error message, or null. */
  intercept(direction: 'in' | 'out', path: string, name: string): string | null;
  /** Drives an input of a device: an error message, or null. */
  setInput(path: string, name: string, line: number, level: number): string | null;
}

/** Most bytes that `read`, `write` and `memset` move at once, and most bytes of a line. */
export const MAX_BLOCK_BYTES = 0x400_0000;
const MAX_LINE_BYTES = 2 * MAX_BLOCK_BYTES + 256;
/** Blocks up to this size pass through a buffer that is kept. */
const KEPT_BYTES = 0x1_0000;
/** Replies are sent when there are so many characters of them, and when no request is left. */
const SEND_CHARACTERS = 0x1_0000;
const NEWLINE = 0x0a;
/** Longest name of an object. */
const MAX_PATH = 1024;
const OK = 'OK\n';

const hex32 = (value: number): string => value.toString(16).padStart(8, '0');

/** Access size by the last letter of `readb`, `writew` and so on; 0 for no such letter. */
function sizeOf(letter: number): AccessSize | 0 {
  if (letter === 0x62) return 1;
  if (letter === 0x77) return 2;
  if (letter === 0x6c) return 4;
  return letter === 0x71 ? 8 : 0;
}

export class QtestSession {
  readonly #target: QtestTarget;
  readonly #send: (replies: string) => boolean;
  readonly #line = new QtestLine();
  readonly #data = new DataView(new ArrayBuffer(8));
  readonly #kept = Buffer.alloc(KEPT_BYTES);
  /** Pieces of a line whose end has not come. */
  #partial: Uint8Array[] = [];
  #partialBytes = 0;
  #overlong = false;
  #replies = '';

  /** Requests that came while the client did not take its replies. */
  readonly #waiting: Uint8Array[] = [];
  #blocked = false;

  /** `send` gets replies, one character a byte; while it says false, no request is carried out until {@link resume}. */
  constructor(target: QtestTarget, send: (replies: string) => boolean) {
    this.#target = target;
    this.#send = send;
  }

  /** Whether requests wait for the client to take replies. */
  get blocked(): boolean {
    return this.#blocked;
  }

  /** Reports an interrupt line; before the reply to the request that changed it. */
  interrupt(line: number, level: boolean): void {
    this.#replies += `IRQ ${level ? 'raise' : 'lower'} ${line}\n`;
  }

  /** Carries out the requests in `bytes`, which are not kept. */
  receive(bytes: Uint8Array): void {
    if (this.#blocked) this.#waiting.push(new Uint8Array(bytes));
    else this.#consume(bytes);
  }

  /** The client took its replies. */
  resume(): void {
    this.#blocked = false;
    for (let bytes = this.#waiting.shift(); bytes !== undefined; bytes = this.#waiting.shift()) {
      this.#consume(bytes);
      if (this.#blocked) return;
    }
  }

  #consume(bytes: Uint8Array): void {
    let start = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
      if (this.#partialBytes > 0 || this.#overlong) this.#finish(bytes.subarray(start, end));
      else this.#execute(bytes, start, end);
      start = end + 1;
      if (this.#replies.length < SEND_CHARACTERS) continue;
      this.#flush();
      if (!this.#blocked) continue;
      if (start < bytes.length) this.#waiting.unshift(new Uint8Array(bytes.subarray(start)));
      return;
    }
    if (start < bytes.length) this.#keep(new Uint8Array(bytes.subarray(start)));
    if (this.#replies !== '') this.#flush();
  }

  #flush(): void {
    const replies = this.#replies;
    this.#replies = '';
    this.#blocked = !this.#send(replies);
  }

  #keep(piece: Uint8Array): void {
    this.#partialBytes += piece.length;
    if (this.#partialBytes > MAX_LINE_BYTES) {
      this.#overlong = true;
      this.#partial = [];
      return;
    }
    if (!this.#overlong) this.#partial.push(piece);
  }

  #finish(rest: Uint8Array): void {
    if (this.#overlong || this.#partialBytes + rest.length > MAX_LINE_BYTES) this.#fail('Line too long');
    else {
      const whole = new Uint8Array(this.#partialBytes + rest.length);
      let at = 0;
      for (const piece of this.#partial) {
        whole.set(piece, at);
        at += piece.length;
      }
      whole.set(rest, at);
      this.#execute(whole, 0, whole.length);
    }
    this.#partial = [];
    this.#partialBytes = 0;
    this.#overlong = false;
  }

  #fail(message: string): void {
    this.#replies += `FAIL ${message}\n`;
  }

  #execute(bytes: Uint8Array, start: number, end: number): void {
    const line = this.#line;
    line.take(bytes, start, end);
    const length = line.length(0);
    if (length === 5 && line.byte(0, 0) === 0x72 && this.#sized('read')) return;
    if (length === 6 && line.byte(0, 0) === 0x77 && this.#sized('write')) return;
    this.#other();
    this.#target.settle();
  }

  /** `readl A`, `writel A V` and the other sizes; false when it is none of them. */
  #sized(verb: 'read' | 'write'): boolean {
    const line = this.#line;
    for (let at = 0; at < verb.length; at++) if (line.byte(0, at) !== verb.charCodeAt(at)) return false;
    const size = sizeOf(line.byte(0, verb.length));
    if (size === 0) return false;
    if (!line.number(1)) {
      this.#fail('Invalid address');
      return true;
    }
    const address = line.value;
    const data = this.#data;
    if (verb === 'read') {
      data.setUint32(0, 0, true);
      data.setUint32(4, 0, true);
      this.#target.readSized(address, size, data);
      this.#target.settle();
      const low = data.getUint32(0, true);
      const kept = size === 4 || size === 8 ? low : low & (2 ** (8 * size) - 1);
      this.#replies += `OK 0x${size === 8 ? hex32(data.getUint32(4, true)) : '00000000'}${hex32(kept)}\n`;
      return true;
    }
    if (!line.number(2)) {
      this.#fail('Invalid value');
      return true;
    }
    data.setUint32(0, line.low, true);
    data.setUint32(4, line.high, true);
    this.#target.writeSized(address, size, data);
    this.#target.settle();
    this.#replies += OK;
    return true;
  }

  #other(): void {
    const line = this.#line;
    if (line.is(0, 'write')) this.#writeBlock();
    else if (line.is(0, 'read')) this.#readBlock('hex', '0x');
    else if (line.is(0, 'memset')) this.#fill();
    else if (line.is(0, 'clock_step')) this.#clockStep();
    else if (line.is(0, 'clock_set')) this.#clockSet();
    else if (line.is(0, 'b64read')) this.#readBlock('base64', '');
    else if (line.is(0, 'b64write')) this.#writeBase64();
    else if (line.is(0, 'endianness')) this.#replies += 'OK little\n';
    else if (line.is(0, 'irq_intercept_in')) this.#intercept('in');
    else if (line.is(0, 'irq_intercept_out')) this.#intercept('out');
    else if (line.is(0, 'set_irq_in')) this.#setInput();
    else this.#fail(`Unknown command '${line.text(0)}'`);
  }

  #intercept(direction: 'in' | 'out'): void {
    const line = this.#line;
    this.#report(this.#target.intercept(direction, line.text(1, MAX_PATH), line.text(2, MAX_PATH)));
  }

  #report(problem: string | null): void {
    if (problem === null) this.#replies += OK;
    else this.#fail(problem);
  }

  /** Address and length of a block command; null when they were refused. */
  #block(): { readonly address: number; readonly length: number } | null {
    const line = this.#line;
    if (!line.number(1)) return this.#refuse('Invalid address');
    const address = line.value;
    if (!line.number(2)) return this.#refuse('Invalid size');
    const length = line.value;
    if (length > MAX_BLOCK_BYTES) return this.#refuse(`Size above ${MAX_BLOCK_BYTES}`);
    return { address, length };
  }

  #refuse(message: string): null {
    this.#fail(message);
    return null;
  }

  /** A buffer of at least `length` bytes, whatever is in it. */
  #buffer(length: number): Buffer {
    return length <= KEPT_BYTES ? this.#kept : Buffer.allocUnsafe(length);
  }

  #readBlock(encoding: 'hex' | 'base64', prefix: string): void {
    const block = this.#block();
    if (block === null) return;
    const { address, length } = block;
    if (length === 0) {
      this.#fail('Invalid size');
      return;
    }
    const buffer = this.#buffer(length);
    this.#target.read(address, buffer, length);
    this.#replies += `OK ${prefix}${buffer.toString(encoding, 0, length)}\n`;
  }

  /** Data shorter than the length is filled up with zeros. Its first two characters are taken for "0x". */
  #writeBlock(): void {
    const block = this.#block();
    if (block === null) return;
    const { address, length } = block;
    if (this.#line.length(3) < 3) {
      this.#replies += 'ERR invalid argument size\n';
      return;
    }
    const buffer = this.#buffer(length);
    if (!this.#line.hexInto(3, buffer, length)) {
      this.#fail('Invalid data');
      return;
    }
    this.#target.write(address, buffer, length);
    this.#replies += OK;
  }

  #writeBase64(): void {
    const line = this.#line;
    const block = this.#block();
    if (block === null) return;
    const text = line.bytes(3);
    const data = Buffer.from(Buffer.from(text.buffer, text.byteOffset, text.byteLength).toString('latin1'), 'base64');
    if (data.length === 0) {
      this.#replies += 'ERR invalid argument size\n';
      return;
    }
    const bytes = Buffer.alloc(block.length);
    data.copy(bytes);
    this.#target.write(block.address, bytes, block.length);
    this.#replies += OK;
  }

  #fill(): void {
    const line = this.#line;
    const block = this.#block();
    if (block === null) return;
    if (!line.number(3)) {
      this.#fail('Invalid value');
      return;
    }
    this.#target.fill(block.address, block.length, line.low & 0xff);
    this.#replies += OK;
  }

  #clockStep(): void {
    const line = this.#line;
    const target = this.#target;
    let step = target.nextTimer - target.now;
    if (line.count > 1) {
      if (!line.number(1)) {
        this.#fail('Invalid time');
        return;
      }
      step = line.high >= 2 ** 31 ? -1 : line.value;
    } else if (step === Number.POSITIVE_INFINITY) {
      this.#fail('cannot advance clock to the next deadline because there is no pending deadline');
      return;
    }
    const until = target.now + step;
    if (step <= 0 || until > Number.MAX_SAFE_INTEGER) {
      this.#fail('could not advance time');
      return;
    }
    target.advance(until);
    this.#replies += `OK ${target.now}\n`;
  }

  /** Time does not go back: an earlier instant leaves it where it is. */
  #clockSet(): void {
    const line = this.#line;
    const target = this.#target;
    if (!line.number(1) || line.value > Number.MAX_SAFE_INTEGER) {
      this.#fail('Invalid time');
      return;
    }
    if (line.value > target.now) target.advance(line.value);
    this.#replies += `OK ${target.now}\n`;
  }

  #setInput(): void {
    const line = this.#line;
    if (!line.number(3)) {
      this.#fail('Invalid line');
      return;
    }
    const pin = line.value;
    if (!line.number(4)) {
      this.#fail('Invalid level');
      return;
    }
    this.#report(this.#target.setInput(line.text(1, MAX_PATH), line.text(2, MAX_PATH), pin, line.value));
  }
}
