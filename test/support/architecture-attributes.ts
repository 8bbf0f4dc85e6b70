/** Memory attributes after the pseudocode of DDI 0487 J1.3.5 and IHI 0070 §5.4, §13.4: for architecture-model.ts. */

type Level = { policy: 'NC' | 'WT' | 'WB'; hints: number; transient: boolean };
export type Attributes = { device: number } | { outer: Level; inner: Level };

const NC: Level = { policy: 'NC', hints: 0, transient: false };

function levelOf(bits: number): Level {
  if (bits === 4) return NC;
  const hints = bits & 3;
  return { policy: (bits & 4) !== 0 ? 'WB' : 'WT', hints, transient: (bits & 8) === 0 && hints !== 0 };
}

/** S1DecodeMemAttrs, with the reserved values as IHI 0070 §5.4 has them. */
export function attributesOf(mair: number): Attributes {
  if (mair >> 4 === 0) return { device: mair >> 2 };
  const inner = (mair & 15) === 0 ? { policy: 'WT' as const, hints: 3, transient: true } : levelOf(mair & 15);
  return { outer: levelOf(mair >> 4), inner };
}

function encodeLevel({ policy, hints, transient }: Level): number {
  if (policy === 'NC') return 4;
  return (transient && hints !== 0 ? 0 : 8) | (policy === 'WB' ? 4 : 0) | hints;
}

export const encodeAttributes = (a: Attributes): number =>
  'device' in a ? a.device << 2 : (encodeLevel(a.outer) << 4) | encodeLevel(a.inner);

/** S2CombineS1MemAttrs, AArch64.S2ApplyFWBMemAttrs; undefined where stage 2 is a reserved encoding. */
export function throughStage2(first: Attributes, memAttr: number, FWB: boolean): Attributes | undefined {
  const weaker = (second: number): Attributes => ({
    device: 'device' in first ? Math.min(first.device, second) : second,
  });
  if (FWB) {
    if ((memAttr & 4) === 0) return weaker(memAttr & 3);
    if ((memAttr & 3) === 0) return undefined;
    if ((memAttr & 3) === 3) return first;
    if ((memAttr & 3) === 1) return 'device' in first ? first : { outer: NC, inner: NC };
    const force = (level: Level | undefined): Level =>
      level === undefined || level.policy === 'NC'
        ? { policy: 'WB', hints: 3, transient: false }
        : { ...level, policy: 'WB' };
    return 'device' in first
      ? { outer: force(undefined), inner: force(undefined) }
      : { outer: force(first.outer), inner: force(first.inner) };
  }
  if (memAttr < 4) return weaker(memAttr);
  if ((memAttr & 3) === 0) return undefined;
  if ('device' in first) return first;
  const both = (level: Level, bits: number): Level => {
    if (level.policy === 'NC' || bits === 1) return NC;
    return { ...level, policy: level.policy === 'WT' || bits === 2 ? 'WT' : 'WB' };
  };
  return { outer: both(first.outer, memAttr >> 2), inner: both(first.inner, memAttr & 3) };
}

/** §13.4.2: no-allocate and transient are the stronger. */
export function withIncomingHints(own: Attributes, incoming: Attributes): Attributes {
  if ('device' in own || 'device' in incoming) return own;
  const level = (a: Level, b: Level): Level =>
    a.policy === 'NC' || b.policy === 'NC'
      ? a
      : { policy: a.policy, hints: a.hints & b.hints, transient: a.transient || b.transient };
  return { outer: level(own.outer, incoming.outer), inner: level(own.inner, incoming.inner) };
}

export const shareabilityOf = (a: Attributes, sh: number): number =>
  'device' in a || (a.outer.policy === 'NC' && a.inner.policy === 'NC') ? 2 : sh === 1 ? 0 : sh;
export const widerOf = (a: number, b: number): number => (a === 2 || b === 2 ? 2 : a === 3 || b === 3 ? 3 : 0);
