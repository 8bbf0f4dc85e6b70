/** A translator with RAM, and contexts from the few fields a test cares about. */
import { Memory } from '../../src/hw/memory.ts';
import { TranslationContext } from '../../src/iommu/smmuv3/translation/context.ts';
import { AddressRange } from '../../src/iommu/smmuv3/translation/invalidation.ts';
import { Access, Outcome } from '../../src/iommu/smmuv3/translation/outcome.ts';
import { Translator, type TranslatorOptions } from '../../src/iommu/smmuv3/translation/translator.ts';
import { EventType } from '../../src/iommu/spec/events.layout.ts';
import { PageTables, type Region } from './page-tables.ts';

export const RAM = 0x4000_0000;
export const RAM_BYTES = 0x4000_0000;

export function translationFixture(options: Partial<TranslatorOptions> = {}) {
  const memory = new Memory(RAM, RAM_BYTES);
  const translator = new Translator({ memory, outputBits: 48, XNX: true, BBML: 2, tlbEntries: 1024, ...options });
  const tables = new PageTables(memory, RAM);
  return { memory, translator, tables };
}

/** The values of `fields` written over those of `target`; nested objects likewise. */
type Fields<T> = { readonly [K in keyof T]?: T[K] extends object ? Fields<T[K]> : T[K] };

function assign<T extends object>(target: T, fields: Fields<T>): T {
  for (const [key, value] of Object.entries(fields)) {
    const present = Reflect.get(target, key) as unknown;
    if (typeof value === 'object' && value !== null) assign(present as object, value);
    else Reflect.set(target, key, value);
  }
  return target;
}

/** A context with `fields` set and the rest derived. */
export function contextOf(fields: Fields<TranslationContext>): TranslationContext {
  const context = assign(new TranslationContext(), fields);
  context.derive();
  return context;
}

/** The stage 1 region fields that walk `region`. */
export const regionFields = (region: Region, inputBits = 48) => ({
  base: region.root,
  granuleBits: region.granuleBits,
  inputBits,
});

export const accessOf = (fields: Fields<Access>): Access => assign(new Access(), fields);
export const rangeOf = (fields: Fields<AddressRange>): AddressRange => assign(new AddressRange(), fields);

/** The page (bits 63:12) of a 64-bit address. */
export const pageOf = (address: bigint): number => Number(address >> 12n);

/** The name of an event, or 'ok'. */
export const eventName = (event: number): string =>
  Object.entries(EventType).find(([, value]) => value === event)?.[0] ?? 'ok';

/** Translates `address`; the result in words that tests compare. */
export function translate(
  translator: Translator,
  context: TranslationContext,
  address: bigint,
  fields: Fields<Access> = {},
) {
  const outcome = new Outcome();
  const event = translator.translate(context, accessOf({ page: pageOf(address), ...fields }), outcome);
  return describe(event, outcome);
}

/** An outcome as a plain record: only what is valid for it. */
export function describe(event: number, outcome: Outcome) {
  const { steps, hit } = outcome;
  if (event === 0) {
    const { page, sizeBits, permissions, attributes, shareability, notGlobal, ipaPage } = outcome;
    const output = BigInt(page) << 12n;
    return { event: 'ok', output, sizeBits, permissions, attributes, shareability, notGlobal, ipaPage, steps, hit };
  }
  const { stage2, faultClass, level, ttRnW, RnW, fetchAddress } = outcome;
  const ipaPage = stage2 ? outcome.ipaPage : undefined;
  return { event: eventName(event), stage2, faultClass, level, ttRnW, RnW, fetchAddress, ipaPage, steps, hit };
}

/** MAIR with Write-Back, Non-cacheable, Device-nGnRE, Write-Through in Attr0 to Attr3. */
export const MAIR0 = 0xbb04_44ff;

/** A translator and one lower region of `inputBits`, with or without 52-bit addresses. */
export function stage1Fixture(granuleBits = 12, startLevel = 0, inputBits = 48, wide = false) {
  const fixture = translationFixture({ outputBits: wide ? 52 : 48 });
  const region: Region = { root: fixture.tables.allocate(2 ** 20), granuleBits, startLevel };
  const outputBits = wide ? 52 : 48;
  const lower = { ...regionFields(region, inputBits), wide };
  const stage1 = { lower, upper: { disabled: true }, outputBits, MAIR0, MAIR1: 0xee };
  const context = contextOf({ stage1Enabled: true, asid: 1, stage1 });
  return { ...fixture, region, stage1, context };
}
