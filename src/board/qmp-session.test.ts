import { beforeEach, expect, test } from 'vitest';
import { ObjectTree } from './object-tree.ts';
import { QmpSession } from './qmp-session.ts';

let sent: string[];
let session: QmpSession;
let resets: number;
let quits: number;

beforeEach(() => {
  sent = [];
  resets = 0;
  quits = 0;
  const tree = new ObjectTree({ smmu: true, gicVersion: 3, devices: [{ type: 'edu', id: undefined }] });
  session = new QmpSession(
    {
      version: '11.1.0',
      deviceTypes: ['edu'],
      children: (path) => tree.children(path),
      reset: () => {
        resets += 1;
      },
      quit: () => {
        quits += 1;
      },
    },
    (text) => sent.push(text),
  );
});

const replies = () => sent.splice(0).map((text) => JSON.parse(text) as Record<string, unknown>);
const negotiate = () => {
  session.receive('{"execute": "qmp_capabilities"}');
  replies();
};

test('the greeting comes first, and ends with CR and LF', () => {
  expect(sent[0]).toMatch(/\r\n$/);
  expect(replies()[0]).toMatchObject({ QMP: { version: { qemu: { major: 11, minor: 1, micro: 0 } } } });
});

test('negotiation, then commands, in any pieces', () => {
  replies();
  session.receive('{"execute": "query-status"}\n');
  expect(replies()[0]).toMatchObject({ error: { class: 'CommandNotFound' } });
  for (const character of '{"execute":"qmp_capabilities","id":7}  {"execute":"query-status"}') {
    session.receive(character);
  }
  expect(replies()).toEqual([{ return: {}, id: 7 }, { return: { status: 'running', running: true } }]);
  session.receive('{"execute": "qmp_capabilities"}');
  expect(replies()[0]).toMatchObject({ error: { class: 'CommandNotFound' } });
});

test('query-machines has virt', () => {
  negotiate();
  session.receive('{"execute": "query-machines"}');
  const [{ return: machines } = { return: [] }] = replies();
  expect((machines as { name: string }[]).map(({ name }) => name)).toContain('virt');
});

test('the SMMU is found by its type', () => {
  negotiate();
  session.receive('{"execute": "qom-list", "arguments": {"path": "/machine/unattached"}}');
  expect(replies()[0]).toMatchObject({
    return: expect.arrayContaining([{ name: 'device[6]', type: 'child<arm-smmuv3>' }]),
  });
  session.receive('{"execute": "qom-list", "arguments": {"path": "/nowhere"}}');
  expect(replies()[0]).toMatchObject({ error: { class: 'DeviceNotFound' } });
});

test('system_reset resets, answers, and announces it', () => {
  negotiate();
  session.receive('{"execute": "system_reset"}');
  expect(resets).toBe(1);
  expect(replies()).toMatchObject([{ return: {} }, { event: 'RESET' }]);
});

test('quit answers before it ends', () => {
  negotiate();
  session.receive('{"execute": "quit"}');
  expect(replies()).toEqual([{ return: {} }]);
  expect(quits).toBe(1);
});

test.each([
  'nonsense\n',
  '{"execute": }',
  '{"execute": 7}',
  '{}',
  '[1, 2]',
  '{"execute": "nosuch"}',
  '{"execute": "qom-list"}',
  '{"execute": "qom-list", "arguments": null}',
])('%s is an error, and the next command works', (text) => {
  negotiate();
  session.receive(text);
  session.receive('\n{"execute": "query-status"}');
  const all = replies();
  expect(all.slice(0, -1).every((reply) => 'error' in reply)).toBe(true);
  expect(all.at(-1)).toEqual({ return: { status: 'running', running: true } });
});

test('an object without end is given up', () => {
  negotiate();
  session.receive(`{"execute": "${'x'.repeat(0x11_0000)}`);
  expect(replies()[0]).toMatchObject({ error: { class: 'GenericError' } });
});
