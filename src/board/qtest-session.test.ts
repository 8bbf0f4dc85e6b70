import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { latencyOf } from '../sim/profile.ts';
import { PROFILES } from '../sim/profiles.ts';
import { BOARD_PRESETS } from './features.ts';
import { QtestSession, type QtestTarget } from './qtest-session.ts';
import { SILENT } from './silent-log.ts';
import { VirtBoard } from './virt-board.ts';

const zero = PROFILES['zero'];
if (zero === undefined) throw new Error('there is no profile zero');
const latency = latencyOf(zero);

let session: QtestSession;
let sent: string;
let taking: boolean;
let board: VirtBoard;

beforeEach(() => {
  board = new VirtBoard({
    ramBytes: 0x100_0000,
    smmu: BOARD_PRESETS['qemu'] ?? {},
    devices: [],
    latency,
    log: SILENT,
  });
  sent = '';
  taking = true;
  const target: QtestTarget = {
    get now() {
      return board.now;
    },
    get nextTimer() {
      return board.nextTimer;
    },
    settle: () => board.settle(),
    advance: (instant) => board.advance(instant),
    readSized: (address, size, data) => board.readSized(address, size, data),
    writeSized: (address, size, data) => board.writeSized(address, size, data),
    read: (address, bytes, length) => board.read(address, bytes, length),
    write: (address, bytes, length) => board.write(address, bytes, length),
    fill: (address, length, value) => board.fill(address, length, value),
    intercept: (_direction, path) => (path === 'gic' ? null : 'Unknown device'),
    setInput: () => null,
  };
  session = new QtestSession(target, (replies) => {
    sent += replies;
    return taking;
  });
});

/** What is answered to `bytes`. */
function receive(bytes: Uint8Array): string {
  sent = '';
  session.receive(bytes);
  return sent;
}

const ask = (text: string): string => receive(Buffer.from(text, 'latin1'));

describe('grammar', () => {
  // Requests and replies as QEMU 11.1.3 gave them, one after the other.
  test.each([
    ['endianness', 'OK little'],
    ['readl 0x09050000', 'OK 0x000000000d44101b'],
    ['readl 0x09050004', 'OK 0x0000000002730010'],
    ['readl 0x0905000c', 'OK 0x0000000000001414'],
    ['readl 0x09050014', 'OK 0x0000000000000074'],
    ['readl 0x0905001c', 'OK 0x0000000000000001'],
    ['readl 0x09050044', 'OK 0x0000000000001000'],
    ['readl 0x09050ffc', 'OK 0x00000000000000b1'],
    ['readb 0x09050001', 'OK 0x0000000000000000'],
    ['readw 0x09050002', 'OK 0x0000000000000000'],
    ['readl 0x09050002', 'OK 0x0000000000000000'],
    ['readl 0x4010000000', 'OK 0x0000000000081b36'],
    ['readl 0x4010000008', 'OK 0x0000000006000000'],
    ['readl 0x4010100000', 'OK 0x00000000ffffffff'],
    ['readl 0x0', 'OK 0x0000000000000000'],
    ['readl 18446744073709551615', 'OK 0x0000000000000000'],
    ['readl -1', 'OK 0x0000000000000000'],
    ['readl 010', 'OK 0x0000000000000000'],
    ['writel 0x0 1', 'OK'],
    ['qqq', "FAIL Unknown command 'qqq'"],
    ['READL 0x40000000', "FAIL Unknown command 'READL'"],
    ['write 0x40000000 4 0x', 'ERR invalid argument size'],
    ['clock_step', 'FAIL cannot advance clock to the next deadline because there is no pending deadline'],
    ['clock_step -5', 'FAIL could not advance time'],
    ['clock_step 0', 'FAIL could not advance time'],
    ['clock_step 0x10', 'OK 16'],
    ['irq_intercept_in /machine/nope', 'FAIL Unknown device'],
    ['irq_intercept_in gic', 'OK'],
  ])('%s: %s', (request, reply) => {
    expect(ask(`${request}\n`)).toBe(`${reply}\n`);
  });

  test.each([
    [['writel 0x40000000 0x12345678', 'read 0x40000000 4'], 'OK 0x78563412'],
    [['writeb 0x40000000 0x1ff', 'readl 0x40000000'], 'OK 0x00000000000000ff'],
    [['writew 0x40000000 0x12345', 'readl 0x40000000'], 'OK 0x0000000000002345'],
    [['writeq 0x40000000 0x8877665544332211', 'readq 0x40000001'], 'OK 0x0088776655443322'],
    [['writeq 0x40000000 18446744073709551615', 'readq 0x40000000'], 'OK 0xffffffffffffffff'],
    [['writel 0x40000000 -2', 'readl 0x40000000'], 'OK 0x00000000fffffffe'],
    [['writel 0x40000000 0777', 'readl 0x40000000'], 'OK 0x00000000000001ff'],
    [['write 0x40000000 4 0x0102', 'read 0x40000000 4'], 'OK 0x01020000'],
    [['write 0x40000000 4 0x01020', 'read 0x40000000 4'], 'OK 0x01020000'],
    [['write 0x40000000 2 0x01020304', 'read 0x40000000 4'], 'OK 0x01020000'],
    [['memset 0x40000000 4 0x1ff', 'read 0x40000000 5'], 'OK 0xffffffff00'],
    [['memset 0x40000000 0 1', 'read 0x40000000 1'], 'OK 0x00'],
    [['b64write 0x40000000 4 AAECAw==', 'read 0x40000000 6'], 'OK 0x000102030000'],
    [['b64write 0x40000000 4 AQ==', 'b64read 0x40000000 4'], 'OK AQAAAA=='],
    [['write 0x40fffffc 8 0x1111111122222222', 'read 0x40fffffc 8'], 'OK 0x1111111100000000'],
    [['writel 0x40000000 0x5a', 'read 0x3ffffffc 8'], 'OK 0x000000005a000000'],
    [['writel 0x09050020 1', 'readl 0x09050024'], 'OK 0x0000000000000001'],
    [['write 0x09050020 4 0x01000000', 'readl 0x09050024'], 'OK 0x0000000000000001'],
    [['writel 0x40000000 1 and more', 'readl   0x40000000  '], 'OK 0x0000000000000001'],
    [['writel 0x40000000 7\r', 'readl 0x40000000\r'], 'OK 0x0000000000000007'],
    [['clock_step 5', 'clock_set 100'], 'OK 100'],
    [['clock_step 500', 'clock_set 100'], 'OK 500'],
  ])('%j: %s', (requests, reply) => {
    const replies = ask(requests.map((request) => `${request}\n`).join('')).split('\n');
    expect(replies.length).toBe(requests.length + 1);
    expect(replies.at(-2)).toBe(reply);
  });

  test.each([
    'readl',
    'readl zz',
    'readl 0x',
    'readl 0x1_0',
    'readl 089',
    'readl 0x10000000000000000',
    'writel 0x40000000',
    'writel 0x40000000 zz',
    'read 0x40000000',
    'read 0x40000000 0',
    'read 0x40000000 x',
    'read 0x40000000 0xffffffffffff',
    'write 0x40000000 4 0xzz',
    'write 0x40000000 0x7fffffffffffffff 0x11',
    'memset 0x40000000 4',
    'memset 0x40000000 0xffffffffff 1',
    'b64write 0x40000000 4 !!',
    'clock_step zz',
    'clock_step 0x7fffffffffffffff',
    'clock_set 0xffffffffffffffff',
    'set_irq_in',
    'irq_intercept_out',
    '',
    '   ',
    'readx 0x0',
    'readl\t0x40000000',
  ])('%j is refused, and the next line works', (request) => {
    const [reply, next] = ask(`${request}\nendianness\n`).split('\n');
    expect(reply).toMatch(/^(FAIL|ERR) /);
    expect(next).toBe('OK little');
  });
});

describe('a stream of bytes', () => {
  test('lines may come in any pieces', () => {
    const text = 'writel 0x40000010 0xabcd\nread 0x40000010 2\nendianness\n';
    for (let size = 1; size < text.length; size++) {
      let replies = '';
      for (let at = 0; at < text.length; at += size) replies += ask(text.slice(at, at + size));
      expect(replies).toBe('OK\nOK 0xcdab\nOK little\n');
    }
  });

  test('the bytes that were given may be used again', () => {
    const buffer = Buffer.from('endian');
    receive(buffer);
    buffer.fill(0);
    expect(ask('ness\n')).toBe('OK little\n');
  });

  test('a line of megabytes', () => {
    const bytes = 0x20_0000;
    const data = 'a5'.repeat(bytes);
    let replies = ask(`write 0x40000000 ${bytes} 0x`);
    for (let at = 0; at < data.length; at += 0x1_0000) replies += ask(data.slice(at, at + 0x1_0000));
    expect(replies + ask('\n')).toBe('OK\n');
    expect(ask(`readl 0x${(0x4000_0000 + bytes - 4).toString(16)}\n`)).toBe('OK 0x00000000a5a5a5a5\n');
  });

  test('whatever comes, each line gets one reply and the next good one works', () => {
    const words = [
      'readl',
      'writeq',
      'read',
      'write',
      'memset',
      'b64write',
      'clock_step',
      '0x40000000',
      '0',
      '-1',
      ' ',
      '\n',
    ];
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.array(fc.constantFrom(...words), { maxLength: 8 }).map((parts) => Buffer.from(parts.join(' '))),
      fc.string().map((text) => Buffer.from(text)),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        let replies = '';
        for (const bytes of pieces) replies += receive(bytes);
        const lines = pieces.reduce((sum, bytes) => sum + bytes.filter((byte) => byte === 10).length, 0);
        replies += ask('\nendianness\n');
        const answers = replies.split('\n').slice(0, -1);
        expect(answers.length).toBe(lines + 2);
        for (const answer of answers) expect(answer).toMatch(/^(OK|FAIL|ERR)( |$)/);
        expect(answers.at(-1)).toBe('OK little');
      }),
      { numRuns: 500 },
    );
  });

  test('a client that takes no replies is not answered further until it does', () => {
    taking = false;
    const block = 'read 0x40000000 0x10000\n';
    expect(ask(block.repeat(10)).length).toBe('OK 0x\n'.length + 2 * 0x1_0000);
    expect(session.blocked).toBe(true);
    expect(ask('endianness\n')).toBe('');
    taking = true;
    sent = '';
    session.resume();
    expect(session.blocked).toBe(false);
    expect(sent.split('\n').length).toBe(9 + 1 + 1);
    expect(sent.endsWith('OK little\n')).toBe(true);
  });

  test('an interrupt stands before the reply of what raised it', () => {
    board.watchPins((pin, level) => session.interrupt(pin, level));
    // GICv2m: interrupt identifier 85 is shared peripheral interrupt 53.
    expect(ask('writel 0x08020040 85\nendianness\n')).toBe('IRQ raise 53\nIRQ lower 53\nOK\nOK little\n');
  });
});
