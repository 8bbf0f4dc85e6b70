import { describe, expect, test } from 'vitest';
import { Clock } from '../../../sim/clock.ts';
import { Invariants } from '../../../sim/invariants.ts';
import { PriCapability } from '../capability/pri.ts';
import { ConfigSpace } from '../config-space.ts';
import { NO_PASID, type PageRequestMessage, ResponseCode, type Upstream } from '../tlp.ts';
import { PageRequestUnit, type PageWait } from './page-request-unit.ts';

// Offsets inside the capability, linux/pci_regs.h: PCI_PRI_CTRL 4, PCI_PRI_STATUS 6, PCI_PRI_ALLOC_REQ 0xc.
const AT = 0x100;
const RF = 1;
const UPRGI = 2;
const STOPPED = 0x100;

interface Wait extends PageWait {
  answer: ResponseCode | null;
}

function unit(options: { capacity?: number; credits?: number; maxGroupPages?: number; enabled?: boolean } = {}) {
  const { capacity = 64, credits = 64, maxGroupPages = 32, enabled = true } = options;
  const clock = new Clock();
  const config = new ConfigSpace();
  const registers = new PriCapability(config, capacity);
  const invariants = new Invariants();
  const pri = new PageRequestUnit({ clock, registers, maxGroupPages, invariants });
  const sent: PageRequestMessage[] = [];
  const upstream: Upstream = {
    memory: () => 0,
    translate: () => {},
    pageRequest: (message) => sent.push(message),
  };
  for (const requesterId of [8, 9]) pri.attach(requesterId, upstream);
  config.write(AT + 12, 4, credits);
  if (enabled) config.write(AT + 4, 2, 1);
  const wait = (page: number, changes: Partial<Wait> = {}): Wait => {
    const made: Wait = {
      requesterId: 8,
      pasid: NO_PASID,
      execute: false,
      privileged: false,
      wantedPage: page,
      wantsRead: true,
      wantsWrite: false,
      answer: null,
      pageRequestDone: (code) => {
        expect(made.answer).toBe(null);
        made.answer = code;
      },
      ...changes,
    };
    return made;
  };
  const ask = (page: number, changes: Partial<Wait> = {}): Wait => {
    const made = wait(page, changes);
    pri.request(made);
    return made;
  };
  const run = () => {
    while (clock.fireNext());
  };
  const respond = (
    groupIndex: number,
    code: number = ResponseCode.SUCCESS,
    requesterId = 8,
    pasid: number = NO_PASID,
  ) => pri.respond(requesterId, { groupIndex, code: code as ResponseCode, pasid });
  const status = () => config.read(AT + 6, 2) & 0x7fff;
  return { clock, config, registers, pri, sent, ask, wait, run, respond, status };
}

const shape = (sent: readonly PageRequestMessage[]) => sent.map((m) => [m.groupIndex, m.page, m.last]);

describe('groups', () => {
  test('pages asked for in one instant make one group; only the last says so', () => {
    const { ask, run, sent, clock } = unit();
    ask(10);
    ask(11, { wantsWrite: true });
    run();
    expect(sent).toEqual([
      {
        requesterId: 8,
        pasid: NO_PASID,
        execute: false,
        privileged: false,
        page: 10,
        read: true,
        write: false,
        last: false,
        groupIndex: 0,
      },
      {
        requesterId: 8,
        pasid: NO_PASID,
        execute: false,
        privileged: false,
        page: 11,
        read: true,
        write: true,
        last: true,
        groupIndex: 0,
      },
    ]);
    clock.after(1, () => ask(12));
    run();
    expect(shape(sent).slice(2)).toEqual([[1, 12, true]]);
  });

  test('a group has one PASID and one requester, and no more pages than allowed', () => {
    const { ask, run, sent } = unit({ maxGroupPages: 2 });
    ask(1, { pasid: 5 });
    ask(2, { pasid: 6 });
    ask(3, { pasid: 5 });
    ask(4, { pasid: 5, requesterId: 9 });
    ask(5, { pasid: 5 });
    run();
    expect(sent.map((m) => [m.groupIndex, m.requesterId, m.pasid, m.page, m.last])).toEqual([
      [0, 8, 5, 1, false],
      [0, 8, 5, 3, true],
      [1, 8, 6, 2, true],
      [2, 9, 5, 4, true],
      [3, 8, 5, 5, true],
    ]);
  });

  test('a response answers all who wait, and frees credits and index', () => {
    const { ask, run, respond, pri } = unit();
    const waits = [ask(1), ask(2)];
    run();
    expect(pri.outstanding).toBe(2);
    respond(0);
    expect(waits.map((w) => w.answer)).toEqual([ResponseCode.SUCCESS, ResponseCode.SUCCESS]);
    expect(pri.outstanding).toBe(0);
    expect(pri.counters.successful).toBe(1);
  });

  test('Invalid Request answers the group and changes nothing else', () => {
    const { ask, run, respond, status, pri } = unit();
    const first = ask(1);
    run();
    respond(0, ResponseCode.INVALID_REQUEST);
    expect(first.answer).toBe(ResponseCode.INVALID_REQUEST);
    expect(status()).toBe(0);
    expect(pri.usable).toBe(true);
  });

  test('indexes go round before one is used again, and an outstanding one is skipped', () => {
    const { ask, run, respond, sent } = unit({ capacity: 1024, credits: 1024, maxGroupPages: 1 });
    ask(0);
    run();
    for (let page = 1; page < 600; page++) {
      ask(page);
      run();
      respond(sent.at(-1)?.groupIndex ?? -1);
    }
    const indexes = sent.map((m) => m.groupIndex);
    expect(indexes.slice(0, 512)).toEqual(Array.from({ length: 512 }, (_, index) => index));
    expect(indexes[512]).toBe(1);
  });

  test('all 512 indexes outstanding: the next group waits for one', () => {
    const { ask, run, respond, sent, pri } = unit({ capacity: 1024, credits: 1024, maxGroupPages: 1 });
    for (let page = 0; page < 513; page++) ask(page);
    run();
    expect(sent).toHaveLength(512);
    expect(pri.queued).toBe(1);
    respond(77);
    run();
    expect(shape(sent).at(-1)).toEqual([77, 512, true]);
  });
});

describe('credits', () => {
  test('never more outstanding than allocated; each group is closed', () => {
    const { ask, run, respond, sent, pri } = unit({ credits: 3 });
    for (let page = 0; page < 5; page++) ask(page);
    run();
    expect(shape(sent)).toEqual([
      [0, 0, false],
      [0, 1, false],
      [0, 2, true],
    ]);
    respond(0);
    run();
    expect(shape(sent).slice(3)).toEqual([
      [1, 3, false],
      [1, 4, true],
    ]);
    expect(pri.counters.outstandingPeak).toBe(3);
  });

  test('an allocation above the capacity counts as the capacity', () => {
    const { ask, run, sent } = unit({ capacity: 2, credits: 100 });
    for (let page = 0; page < 5; page++) ask(page);
    run();
    expect(sent).toHaveLength(2);
  });

  test('without an allocation the unit is not usable', () => {
    expect(unit({ credits: 0 }).pri.usable).toBe(false);
  });
});

describe('Response Failure', () => {
  test('sets RF, tells everybody, ignores later responses, and stays off until enabled again', () => {
    const { ask, run, respond, status, pri, config } = unit({ maxGroupPages: 1, credits: 2 });
    const waits = [ask(1), ask(2), ask(3)];
    run();
    respond(1, ResponseCode.RESPONSE_FAILURE);
    expect(waits.map((w) => w.answer)).toEqual([15, 15, 15]);
    expect(status()).toBe(RF);
    expect(pri.usable).toBe(false);
    respond(0);
    expect(status()).toBe(RF);
    expect(pri.counters.ignored).toBe(1);
    // Clearing the status is not enough; enabling again is (PCIe §10.4.2.1).
    config.write(AT + 6, 2, RF);
    expect(status()).toBe(0);
    expect(pri.usable).toBe(false);
    config.write(AT + 4, 2, 0);
    expect(status()).toBe(STOPPED);
    config.write(AT + 4, 2, 1);
    expect(status()).toBe(0);
    expect(pri.usable).toBe(true);
    expect(pri.outstanding).toBe(0);
  });

  test.each([2, 7, 14])('the reserved code %i counts as Response Failure', (code) => {
    const { ask, run, respond, status } = unit();
    const first = ask(1);
    run();
    respond(0, code);
    expect(first.answer).toBe(ResponseCode.RESPONSE_FAILURE);
    expect(status()).toBe(RF);
  });
});

describe('unexpected responses', () => {
  test('an index that is not outstanding sets UPRGI, cleared by writing 1', () => {
    const { respond, status, config, pri } = unit();
    respond(3);
    expect(status()).toBe(UPRGI);
    config.write(AT + 6, 2, UPRGI);
    expect(status()).toBe(0);
    expect(pri.counters.unexpected).toBe(1);
  });

  test('so does the index of another requester, and the group stays outstanding', () => {
    const { ask, run, respond, status, pri } = unit();
    const first = ask(1);
    run();
    respond(0, ResponseCode.SUCCESS, 9);
    expect(status()).toBe(UPRGI);
    expect(first.answer).toBe(null);
    expect(pri.outstanding).toBe(1);
  });

  test('two responses to one group break the one-response invariant', () => {
    const { ask, run, respond } = unit();
    ask(1);
    run();
    respond(0);
    expect(() => respond(0)).toThrow('exactly one response');
  });

  test('a response without the PASID of its group is accepted and counted', () => {
    const { ask, run, respond, pri } = unit();
    const first = ask(1, { pasid: 4 });
    run();
    respond(0);
    expect(first.answer).toBe(ResponseCode.SUCCESS);
    expect(pri.counters.pasidMismatches).toBe(1);
  });
});

describe('stopping', () => {
  test('disabling fails what is queued; Stopped follows the last response', () => {
    const { ask, run, respond, status, config } = unit({ credits: 1 });
    const [sent, queued] = [ask(1), ask(2)];
    run();
    config.write(AT + 4, 2, 0);
    expect(queued.answer).toBe(ResponseCode.INVALID_REQUEST);
    expect(sent.answer).toBe(null);
    expect(status()).toBe(0);
    respond(0);
    expect(sent.answer).toBe(ResponseCode.SUCCESS);
    expect(status()).toBe(STOPPED);
  });

  test('a Response Failure while stopping stops at once', () => {
    const { ask, run, respond, status, config, pri } = unit({ maxGroupPages: 1 });
    const waits = [ask(1), ask(2)];
    run();
    config.write(AT + 4, 2, 0);
    respond(0, ResponseCode.RESPONSE_FAILURE);
    expect(waits.map((w) => w.answer)).toEqual([15, 15]);
    expect(status()).toBe(RF | STOPPED);
    expect(pri.outstanding).toBe(0);
  });

  test('Reset while disabled forgets what is outstanding; while enabled it does nothing', () => {
    const { ask, run, status, config, pri, respond } = unit();
    const first = ask(1);
    run();
    config.write(AT + 4, 2, 3);
    expect(first.answer).toBe(null);
    expect(config.read(AT + 4, 2)).toBe(1);
    // Disabling and resetting in one write counts as disabled.
    config.write(AT + 4, 2, 2);
    expect(first.answer).toBe(ResponseCode.INVALID_REQUEST);
    expect(pri.outstanding).toBe(0);
    expect(status()).toBe(STOPPED);
    // The response that comes late is unexpected, not a second one.
    respond(0);
    expect(status()).toBe(STOPPED | UPRGI);
  });

  test('a stop marker follows the requests of its PASID, which are given up; their credits return later', () => {
    const { ask, run, sent, respond, pri } = unit();
    const stopping = ask(1, { pasid: 4 });
    const other = ask(2, { pasid: 5 });
    run();
    pri.stopPasidWithMarker(8, 4);
    // PASID, L = 1, W = R = 0 (PCIe §10.4.1.2.1).
    expect(sent.at(-1)).toMatchObject({
      requesterId: 8,
      pasid: 4,
      read: false,
      write: false,
      last: true,
      groupIndex: 0,
    });
    expect(stopping.answer).toBe(ResponseCode.INVALID_REQUEST);
    expect(other.answer).toBe(null);
    expect(pri.outstanding).toBe(2);
    respond(0, ResponseCode.SUCCESS, 8, 4);
    respond(1, ResponseCode.SUCCESS, 8, 5);
    expect(pri.outstanding).toBe(0);
    expect(other.answer).toBe(ResponseCode.SUCCESS);
  });

  test('without a marker the PASID has stopped when its last response has come', () => {
    const { ask, run, respond, pri } = unit({ credits: 2, maxGroupPages: 1 });
    const waits = [ask(1, { pasid: 4 }), ask(2, { pasid: 5 }), ask(3, { pasid: 4 })];
    run();
    let stopped = 0;
    pri.stopPasid(8, 4, () => {
      stopped += 1;
    });
    expect(waits[2]?.answer).toBe(ResponseCode.INVALID_REQUEST);
    respond(1, ResponseCode.SUCCESS, 8, 5);
    expect(stopped).toBe(0);
    respond(0, ResponseCode.SUCCESS, 8, 4);
    expect(stopped).toBe(1);
    expect(waits[0]?.answer).toBe(ResponseCode.SUCCESS);
  });

  test('a request that is given up hears nothing, sent or not', () => {
    const { ask, run, respond, pri } = unit({ credits: 1 });
    const [sent, queued] = [ask(1), ask(2)];
    run();
    pri.forget(sent);
    pri.forget(queued);
    respond(0);
    run();
    expect([sent.answer, queued.answer]).toEqual([null, null]);
    expect([pri.outstanding, pri.queued]).toEqual([0, 0]);
  });
});
