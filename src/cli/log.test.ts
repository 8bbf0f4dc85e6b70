import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Clock } from '../sim/clock.ts';
import { openLogSink, parseLevels } from './log.ts';

describe('levels', () => {
  test.each([
    ['info', { sim: 'info', hw: 'info', iommu: 'info', vfio: 'info', sva: 'info', mm: 'info', guest: 'info' }],
    [
      'iommu=debug,vfio=info',
      { sim: 'silent', hw: 'silent', iommu: 'debug', vfio: 'info', sva: 'silent', mm: 'silent', guest: 'silent' },
    ],
    [
      'warn, mm = trace',
      { sim: 'warn', hw: 'warn', iommu: 'warn', vfio: 'warn', sva: 'warn', mm: 'trace', guest: 'warn' },
    ],
  ])('%s', (text, expected) => {
    expect(parseLevels(text)).toEqual(expected);
  });

  test.each([
    ['loud', '--log loud: expected a level, one of trace, debug, info, warn, error, fatal, silent, found "loud"'],
    [
      'debgu',
      '--log debgu: expected a level, one of trace, debug, info, warn, error, fatal, silent, found "debgu"; did you mean "debug"?',
    ],
    ['', '--log : expected a level, one of trace, debug, info, warn, error, fatal, silent, found nothing'],
    ['iommu=', '--log iommu=: expected a level, one of trace, debug, info, warn, error, fatal, silent, found nothing'],
    [
      'iomu=info',
      '--log iomu=info: expected a layer, one of sim, hw, iommu, vfio, sva, mm, guest, found "iomu"; did you mean "iommu"?',
    ],
    ['iommu', '--log iommu: expected a level for the layer, such as iommu=debug'],
    ['mm=info,mm=debug', '--log mm=info,mm=debug: expected one level for mm, found two'],
    ['info,debug', '--log info,debug: expected one level for all layers, found two'],
    ['mm=info=debug', '--log mm=info=debug: expected LAYER=LEVEL, found "mm=info=debug"'],
  ])('%s is refused', (text, message) => {
    expect(() => parseLevels(text)).toThrow(message);
  });
});

describe('a log file', () => {
  const folder = { path: '' };
  beforeAll(() => {
    folder.path = mkdtempSync(path.join(tmpdir(), 'log-'));
  });
  afterAll(() => rmSync(folder.path, { recursive: true }));

  test('holds one JSON object per event, with virtual time, level, mode and layer first', () => {
    const file = path.join(folder.path, 'run.ndjson');
    const sink = openLogSink({ levels: parseLevels('info,mm=silent,hw=debug'), file, pretty: false, colour: false });
    for (const mode of ['static', 'pri']) {
      const clock = new Clock();
      const logOf = sink.logs(mode)(clock);
      clock.after(1500, () => undefined);
      clock.fireNext();
      logOf('vfio').info({ event: 'vfio.fault', page: 0x40000, write: true });
      logOf('vfio').debug({ event: 'vfio.detail' });
      logOf('hw').debug({ event: 'hw.detail' });
      logOf('mm').error({ event: 'mm.lost' });
      expect(logOf('mm').isLevelEnabled('error')).toBe(false);
      expect(logOf('vfio')).toBe(logOf('vfio'));
    }
    expect(sink.close()).toBeNull();
    expect(readFileSync(file, 'utf8')).toBe(
      ['static', 'pri']
        .map(
          (mode) =>
            `{"level":"info","t":1500,"mode":"${mode}","layer":"vfio","event":"vfio.fault","page":262144,"write":true}\n` +
            `{"level":"debug","t":1500,"mode":"${mode}","layer":"hw","event":"hw.detail"}\n`,
        )
        .join(''),
    );
  });

  test('is written whole, however long', () => {
    const file = path.join(folder.path, 'long.ndjson');
    const sink = openLogSink({ levels: parseLevels('info'), file, pretty: false, colour: false });
    const log = sink.logs('pri')(new Clock())('vfio');
    for (let n = 0; n < 10_000; n++) log.info({ event: 'vfio.fault', n });
    sink.close();
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line).n)).toEqual(Array.from({ length: 10_000 }, (_, n) => n));
  });

  test('that cannot be opened is refused by name', () => {
    const file = path.join(folder.path, 'no/such/folder.log');
    expect(() => openLogSink({ levels: parseLevels('info'), file, pretty: false, colour: false })).toThrow(
      `--log-file ${file}: there is no such folder`,
    );
  });

  test('that cannot be written says so at the end', () => {
    const file = '/dev/full';
    const sink = openLogSink({ levels: parseLevels('info'), file, pretty: false, colour: false });
    sink.logs('pri')(new Clock())('vfio').info({ event: 'vfio.fault' });
    expect(sink.close()).toBe('--log-file /dev/full: no space left on the device');
  });
});
