/** Consumption, errors, CMD_SYNC: IHI 0070 §4.1, §4.5, §4.7.3, §7.1. Command words typed from the Linux header. */
import { describe, expect, test } from 'vitest';
import { type BoardOptions, COMMANDS, DATA, SmmuBoard } from '../../../test/support/smmu-board.ts';
import { InterruptController, MSI_DOORBELL } from '../../hw/interrupts.ts';
import { CMDQ_BASE, CMDQ_CONS, CMDQ_PROD, CR0, GERROR, GERRORN } from '../spec/registers.layout.ts';

const NOP = [0x04, 0, 31, 0] as const;
const SYNC = [0x46, 0, 0, 0] as const;
const ERR = (cons: number) => cons >>> 24;

function enabled(options: BoardOptions = {}): SmmuBoard {
  const board = new SmmuBoard(options);
  board.enable();
  return board;
}

describe('consumption', () => {
  test('CONS follows PROD around the ring, wrap flag included', () => {
    const board = enabled();
    for (let round = 0; round < 40; round++) {
      board.command(NOP);
      expect(board.read(CMDQ_CONS)).toBe((round + 1) & 0x1f);
    }
    expect(board.smmu.commandsConsumed).toBe(40);
  });

  test('a full queue is consumed whole', () => {
    const board = enabled();
    board.command(...new Array(15).fill(NOP));
    expect(board.wakeUps).toBe(0);
    board.command(...new Array(16).fill(NOP));
    expect(board.read(CMDQ_CONS)).toBe(0x1f);
    // It is no longer full: who waits for room in WFE is woken (§4.1.2).
    expect(board.wakeUps).toBe(1);
  });

  test('a queue of one entry works', () => {
    const board = enabled();
    board.write(CR0, 0);
    board.write64(CMDQ_BASE, COMMANDS);
    board.write(CMDQ_PROD, 0);
    board.write(CMDQ_CONS, 0);
    board.write(CR0, 8);
    board.poke(COMMANDS, ...NOP);
    board.write(CMDQ_PROD, 1);
    expect(board.read(CMDQ_CONS)).toBe(1);
    board.write(CMDQ_PROD, 0);
    expect(board.read(CMDQ_CONS)).toBe(0);
  });

  test('waits for CMDQEN', () => {
    const board = new SmmuBoard();
    board.enable(0);
    board.command(NOP);
    expect(board.read(CMDQ_CONS)).toBe(0);
    board.write(CR0, 8);
    expect(board.read(CMDQ_CONS)).toBe(1);
  });

  test('takes its time where the profile charges it', () => {
    const board = enabled({ profile: 'kunpeng920' });
    board.command(NOP, NOP);
    expect(board.read(CMDQ_CONS)).toBe(0);
    board.clock.fireNext();
    expect([board.clock.now, board.read(CMDQ_CONS)]).toEqual([40, 1]);
    board.clock.fireNext();
    expect([board.clock.now, board.read(CMDQ_CONS)]).toEqual([80, 2]);
    expect(board.clock.fireNext()).toBe(false);
  });
});

describe('errors', () => {
  test.each([
    ['opcode 0', [0x00, 0, 0, 0]],
    ['a reserved opcode', [0x42, 0, 0, 0]],
    ['an IMPLEMENTATION DEFINED opcode', [0x80, 0, 0, 0]],
    ['a Secure TLBI', [0x50, 0, 0, 0]],
    ['an EL3 TLBI', [0x18, 0, 0, 0]],
    ['CFGI_VMS_PIDM without MPAM', [0x07, 0, 0, 0]],
    ['DPTI without DPT', [0x70, 0, 0, 0]],
    ['SSec on CFGI_STE', [0x403, 0, 0, 0]],
    ['SSec on RESUME', [0x444, 0, 0, 0]],
    ['SSec on PREFETCH_CONFIG', [0x401, 0, 0, 0]],
    ['CMD_SYNC with CS=0b11', [0x3046, 0, 0, 0]],
    ['PRI_RESP with Resp=0b11', [0x41, 0, 0x3000, 0]],
    ['ATC_INV of more than everything', [0x40, 0, 53, 0]],
  ] as const)('%s is CERROR_ILL', (_name, command) => {
    const board = enabled();
    board.command(NOP, command, NOP);
    expect(board.read(CMDQ_CONS)).toBe(0x0100_0001);
    expect(board.read(GERROR)).toBe(1);
    expect(board.wires.globalError).toBe(1);
  });

  test.each([
    [
      'stage 1',
      { S1P: 0 },
      [
        [0x05, 0, 0, 0],
        [0x06, 0, 0, 0],
        [0x10, 0, 0, 0],
        [0x11, 0, 0, 0],
        [0x12, 0, 0, 0],
        [0x13, 0, 0, 0],
      ],
    ],
    [
      'stage 2',
      { S2P: 0 },
      [
        [0x28, 0, 0, 0],
        [0x2a, 0, 0, 0],
      ],
    ],
    [
      'Hyp',
      { Hyp: 0 },
      [
        [0x20, 0, 0, 0],
        [0x21, 0, 0, 0],
        [0x22, 0, 0, 0],
        [0x23, 0, 0, 0],
      ],
    ],
    ['ATS', { ATS: 0 }, [[0x40, 0, 0, 0]]],
    ['PRI', { PRI: 0 }, [[0x41, 0, 0x2000, 0]]],
    [
      'stalls',
      { STALL_MODEL: 1 },
      [
        [0x44, 0, 0, 0],
        [0x45, 0, 0, 0],
      ],
    ],
  ] as const)('without %s its commands are CERROR_ILL', (_name, features, commands) => {
    for (const command of commands) {
      const board = enabled({ features });
      board.command(command);
      expect(board.read(CMDQ_CONS), command[0].toString(16)).toBe(0x0100_0000);
      const whole = enabled();
      whole.command(command);
      expect(whole.read(CMDQ_CONS), command[0].toString(16)).toBe(1);
    }
  });

  test('acknowledging restarts at the same command, which is read again', () => {
    const board = enabled();
    board.command(NOP, [0xff, 0, 0, 0], NOP);
    board.command(NOP);
    expect(board.read(CMDQ_CONS) & 0xfffff).toBe(1);
    board.poke(COMMANDS + 16, ...NOP);
    board.write(GERRORN, 1);
    expect(board.read(CMDQ_CONS) & 0xfffff).toBe(4);
    board.command([0xff, 0, 0, 0]);
    expect(board.read(GERROR)).toBe(0);
  });

  test('a queue where nothing answers is CERROR_ABT', () => {
    const board = new SmmuBoard();
    board.enable(0);
    board.write64(CMDQ_BASE, 0x1000_0000 + 4);
    board.write(CR0, 8);
    board.write(CMDQ_PROD, 1);
    expect(board.read(CMDQ_CONS)).toBe(0x0200_0000);
    expect(board.read(GERROR)).toBe(1);
  });
});

describe('CMD_SYNC', () => {
  test('CS=SIG_NONE says nothing, SIG_SEV wakes CPUs, SIG_IRQ pulses the wire', () => {
    const board = enabled();
    board.command(SYNC);
    expect([board.wakeUps, board.wires.sync]).toEqual([0, 0]);
    board.command([0x2046, 0, 0, 0]);
    expect([board.wakeUps, board.wires.sync]).toEqual([1, 0]);
    board.command([0x1046, 0, 0, 0]);
    expect([board.wakeUps, board.wires.sync]).toEqual([1, 1]);
  });

  test('SIG_SEV is SIG_NONE where IDR0.SEV=0', () => {
    const board = enabled({ features: { SEV: 0 } });
    board.command([0x2046, 0, 0, 0]);
    expect([board.wakeUps, board.read(CMDQ_CONS)]).toEqual([0, 1]);
  });

  test('an MSI writes its data, and memory will do as a target', () => {
    const board = enabled();
    board.command([0x1046, 0xdead_beef, DATA + 8, 0]);
    expect(board.peek(DATA + 8, 1)).toEqual([0xdead_beef]);
    const other = enabled({ features: { MSI: 0 } });
    other.command([0x1046, 0xdead_beef, DATA + 8, 0]);
    expect([other.peek(DATA + 8, 1), other.wires.sync]).toEqual([[0], 1]);
  });

  test('an MSI reaches an interrupt controller', () => {
    const board = enabled();
    const controller = new InterruptController({ clock: board.clock, latencyNs: 0 });
    board.bus.map(0x0802_0000, 0x1000, controller.frame);
    let taken = 0;
    controller.connect(77, () => {
      taken += 1;
    });
    board.command([0x1046, 77, 0x0802_0000 + MSI_DOORBELL, 0]);
    board.clock.fireNext();
    expect(taken).toBe(1);
  });

  test('an MSI that aborts is MSI_CMDQ_ABT_ERR, and the command is consumed', () => {
    const board = enabled();
    board.command([0x1046, 1, 0x1000_0000, 0]);
    expect([board.read(CMDQ_CONS), board.read(GERROR)]).toEqual([1, 0x10]);
  });
});

describe('ATS invalidations', () => {
  test('go to the function with span, PASID and Global', () => {
    const board = enabled();
    board.command(
      [0x40, 8, 0x1234_5000, 0x7f],
      [0x40 | (1 << 11) | (5 << 12), 8, 0x1234_5000 | 9, 0],
      [0x40 | (1 << 9) | (1 << 11) | (5 << 12), 8, 52, 0],
      [0x40 | (1 << 9), 8, 52, 0],
    );
    expect(board.invalidations.map(({ streamId, message }) => [streamId, message])).toEqual([
      [8, { page: 0x7f_1234_5, pages: 1, pasid: -1, global: false }],
      [8, { page: 0x1_2200, pages: 512, pasid: 5, global: false }],
      [8, { page: 0, pages: Number.POSITIVE_INFINITY, pasid: 5, global: true }],
      [8, { page: 0, pages: Number.POSITIVE_INFINITY, pasid: -1, global: false }],
    ]);
  });

  test('hold CMD_SYNC and what follows until they complete', () => {
    const board = enabled();
    board.completesInvalidations = false;
    board.command([0x40, 8, 0, 0], [0x40, 9, 0, 0], SYNC, NOP);
    expect(board.read(CMDQ_CONS)).toBe(2);
    board.invalidations[1]?.completed();
    expect(board.read(CMDQ_CONS)).toBe(2);
    board.invalidations[0]?.completed();
    expect(board.read(CMDQ_CONS)).toBe(4);
    board.invalidations[0]?.completed();
    expect(board.read(CMDQ_CONS)).toBe(4);
  });

  test('that are lost end the CMD_SYNC with CERROR_ATC_INV_SYNC; it may be issued again', () => {
    const board = enabled({ atcInvalidateTimeoutNs: 1000 });
    board.completesInvalidations = false;
    board.command([0x40, 8, 0, 0], SYNC, NOP);
    expect(board.clock.fireNext()).toBe(true);
    expect(board.clock.now).toBe(1000);
    expect([board.read(CMDQ_CONS), board.read(GERROR)]).toEqual([0x0300_0001, 1]);
    board.invalidations[0]?.completed();
    board.write(GERRORN, 1);
    expect(board.read(CMDQ_CONS) & 0xfffff).toBe(3);
    expect(ERR(board.read(CMDQ_CONS))).toBe(3);
  });

  test('are ignored while SMMUEN=0, as are page request responses', () => {
    const board = enabled();
    board.write(CR0, 0b1110);
    board.command([0x40, 8, 0, 0], [0x41, 8, 0x2003, 0]);
    expect([board.invalidations, board.responses]).toEqual([[], []]);
    expect(board.read(CMDQ_CONS)).toBe(2);
  });
});

test('the bottom bits of the base are aligned to the size of the queue', () => {
  const board = new SmmuBoard();
  board.enable(0);
  board.write64(CMDQ_BASE, COMMANDS + 0xe0 + 4);
  board.write(CR0, 8);
  board.poke(COMMANDS, ...NOP);
  board.write(CMDQ_PROD, 1);
  expect([board.read(CMDQ_CONS), board.read(GERROR)]).toEqual([1, 0]);
});
