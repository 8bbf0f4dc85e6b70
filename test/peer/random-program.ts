/**
 * Random programs from a seed. They roam where both servers have to agree: each place that a documented difference
 * covers is left out, and says which. What may be cached for how long is open, so a change in memory is followed by what
 * has to be seen (after the right command) or by what both do keep (after none, or one for something else), and then by a
 * full invalidation.
 */
import { assert } from '../../src/assert.ts';
import { STE } from '../../src/iommu/spec/ste.layout.ts';
import { Random } from '../../src/sim/random.ts';
import { contextFields, type ProgramBuilder, program, upperContextFields } from './builder.ts';
import { DEVICE_FUNCTIONS, EDU, NOWHERE, POOL_BASE, STREAM_TABLE } from './memory-map.ts';
import type { Command, Fields, FieldsOf, Program } from './program.ts';
import { GRANULES, levelShift, naturalStart, type Tables } from './tables.ts';
import { BLOCK_LEVELS } from './written/stage1.ts';

/** Changes of one or two fields; the first value of each is the common one. */
type Choices = readonly (readonly [field: string, values: readonly number[]])[];

/** Changes of a CD in use; `epd-with-cached-entries`: EPD0 is left out. */
const CD_CHOICES: Choices = [
  ...(['V', 'AA64', 'A'] as const).map((name) => [name, [0]] as const),
  ...(['S', 'HA', 'HD', 'ENDI', 'AFFD', 'TBI0', 'WXN', 'UWXN', 'PAN', 'ASET', 'HAD0'] as const).map(
    (name) => [name, [1]] as const,
  ),
  ['R', [0]],
  // `reserved-ips`: 6 and 7 are left out.
  ['IPS', [1, 2, 3, 4, 5]],
  ['SH0', [1, 2, 3]],
  ['IR0', [1, 2, 3]],
  ['OR0', [1, 2, 3]],
  ['MAIR0', [0xffff_ffff, 0x0404_0404]],
];

/** Changes of a CD before its first use. */
const NEW_CD_CHOICES: Choices = [...CD_CHOICES, ['EPD0', [1]]];

/** Changes that make a table be read with another shape: only where no block could be met at a wrong level. */
const CD_SHAPE_CHOICES: Choices = [
  ['T0SZ', [0, 15, 16, 17, 20, 24, 25, 26, 30, 33, 36, 39, 40, 63]],
  ['TG0', [0, 1, 2, 3]],
];

const STE_CHOICES: Choices = [
  ['V', [0]],
  ['SHCFG', [1, 2, 3]],
  ['MTCFG', [1]],
  ['MemAttr', [5, 15]],
  ['ALLOCCFG', [1, 8, 15]],
  ['PRIVCFG', [2, 3]],
  ['INSTCFG', [2, 3]],
  ['CONT', [1, 4]],
  ['MEV', [1]],
  ['DRE', [1]],
  ['DCP', [1]],
  ['SW_RESERVED', [7]],
];

/** `stage-2-httu`, `s2ptw`, `stage-2-lpae`, `start-level`: S2HA, S2HD, S2PTW, S2AA64, S2T0SZ and S2SL0 stay. */
const STAGE_2_CHOICES: Choices = [
  ['S2AFFD', [1]],
  ['S2R', [0]],
  ['S2S', [1]],
  ['S2ENDI', [1]],
  ['S2TG', [3]],
  ['S2SH0', [2, 3]],
  ['S2IR0', [1, 3]],
  ['S2PS', [5]],
];

const LEAF_1_CHOICES: Choices = [
  ['VALID', [0]],
  ['AF', [0]],
  // `unprivileged`: 0 and 2 are left out.
  ['AP', [3]],
  ['AttrIndx', [1, 3, 7]],
  ['SH', [2, 3]],
  ['NS', [1]],
  ['UXN', [1]],
  ['PXN', [1]],
  ['SW', [5]],
  ['DBM', [1]],
  ['OUTPUT', [NOWHERE / 4096, 2 ** 45 / 4096]],
];

const LEAF_2_CHOICES: Choices = [
  ['VALID', [0]],
  ['AF', [0]],
  // `cached-read-permission`: 2 is left out.
  ['S2AP', [0, 1]],
  ['SH', [2, 3]],
  ['XN', [1, 2, 3]],
  ['SW', [9]],
  ['OUTPUT', [NOWHERE / 4096, 2 ** 45 / 4096]],
];

const TABLE_CHOICES: Choices = [
  ['XNTable', [1]],
  ['PXNTable', [1]],
  ['NSTable', [1]],
];

interface Mapping {
  readonly tables: Tables;
  readonly iova: bigint;
  readonly level: number;
  readonly bytes: number;
  /** Where the bytes at `iova` are looked for. */
  target: number;
}

interface Stream {
  readonly device: number;
  readonly sid: number;
  readonly config: 0 | 4 | 5 | 6 | 7;
  readonly asid: number;
  readonly vmid: number;
  readonly mappings: Mapping[];
  readonly ste: FieldsOf<'STE'>;
  readonly steAddress: number;
  readonly cd: FieldsOf<'CD'>;
  readonly cdAddress: number;
  /** Nothing in its STE and CD was changed: both are valid, so that both servers may keep them. */
  readonly plain: boolean;
}

const SYNC: Command = { name: 'SYNC' };
const BLOCK_BYTES = 2 ** 21;
/** Output address bits that the machine announces; inputs that bypass stage 1 stay below (`bypass-address-size`). */
const OUTPUT_BITS = 44;

class Generator {
  readonly #p: ProgramBuilder;
  readonly #random: Random;
  readonly #streams: Stream[] = [];
  /** Level 2 stream tables by their index in level 1. */
  readonly #levelTwo = new Map<number, number>();
  /** The stream that is being laid out belongs to the device that reads. */
  #reading = false;

  constructor(p: ProgramBuilder, random: Random) {
    this.#p = p;
    this.#random = random;
  }

  run(): void {
    const random = this.#random;
    const split = random.chance(0.3) ? random.pick([6, 8, 10]) : undefined;
    for (const [device, sid] of DEVICE_FUNCTIONS.entries()) {
      if (device === 0 || random.chance(0.5)) this.#addStream(device, sid, split);
    }
    this.#p.enable({ streams: random.pick([8, 8, 8, 9, 12, 16, 5]), ...(split !== undefined && { split }) });
    const actions = 3 + random.below(10);
    for (let action = 0; action < actions; action++) this.#act();
  }

  #act(): void {
    const random = this.#random;
    const stream = random.pick(this.#streams);
    const dice = random.below(100);
    if (dice < 50) this.#access(stream);
    else if (dice < 70) this.#remap(stream);
    else if (dice < 80) this.#reconfigure(stream);
    else if (dice < 93) this.#command();
    else this.#offAndOn(stream);
  }

  /** One or two changes from `choices` to `fields`, or none. */
  #change<F extends Fields>(fields: F, choices: Choices, probability: number): F {
    const changed: Record<string, number> = { ...fields };
    for (let again = this.#random.chance(probability); again; again = this.#random.chance(0.2)) {
      const [name, values] = this.#random.pick(choices);
      changed[name] = this.#random.pick(values);
    }
    return changed as F;
  }

  #addStream(device: number, sid: number, split: number | undefined): void {
    const random = this.#random;
    const p = this.#p;
    this.#reading = device === EDU;
    const config = random.pick([4, 5, 5, 5, 5, 6, 6, 6, 7, 7, 0] as const);
    const vmid = config >= 6 ? random.below(0x1_0000) : 0;
    const base = { device, sid, config, asid: random.below(0x1_0000), vmid, mappings: [] as Mapping[] };
    const second = config >= 6 ? this.#stage2Tables(config === 7) : null;
    const first = (config & 1) === 1 ? this.#stage1Tables() : null;
    let cd: FieldsOf<'CD'> = {};
    let cdAddress = 0;
    let plain = true;
    if (first !== null) {
      this.#mapSome(base.mappings, first, second);
      cd = { ...contextFields(first), ASID: base.asid };
      if (random.chance(0.25)) cd = { ...cd, ...this.#upperHalf(base.mappings, second) };
      const valid = cd;
      cd = this.#change(cd, NEW_CD_CHOICES, 0.3) as FieldsOf<'CD'>;
      const shaped = base.mappings.every(({ level }) => level === 3);
      if (shaped && random.chance(0.1)) cd = this.#change(cd, CD_SHAPE_CHOICES, 1) as FieldsOf<'CD'>;
      plain = JSON.stringify(cd) === JSON.stringify(valid);
      cdAddress = p.memory() + 64 * random.below(64);
      p.put('CD', cdAddress, cd);
    } else if (second !== null) this.#mapSome(base.mappings, second, null);
    let ste: FieldsOf<'STE'> = { V: 1, Config: config };
    if (first !== null) ste = { ...ste, S1ContextPtr: cdAddress / 64 };
    if (second !== null) {
      const stage2 = this.#stage2Ste(second, vmid, config === 7);
      plain &&= !STAGE_2_CHOICES.some(([name, values]) => values.includes(stage2[name as keyof typeof stage2] ?? -1));
      ste = { ...ste, ...stage2 };
    }
    const valid = ste;
    ste = this.#change(ste, STE_CHOICES, 0.2) as FieldsOf<'STE'>;
    plain &&= JSON.stringify(ste) === JSON.stringify(valid);
    const steAddress = this.#steAddress(sid, split);
    p.put('STE', steAddress, ste);
    this.#streams.push({ ...base, ste, steAddress, cd, cdAddress, plain });
  }

  /** Where the STE of `sid` lies; of a two-level table, the level 2 part is made when its first stream comes. */
  #steAddress(sid: number, split: number | undefined): number {
    if (split === undefined) return STREAM_TABLE + sid * STE.$.byteLength;
    const index = Math.floor(sid / 2 ** split);
    let table = this.#levelTwo.get(index);
    if (table === undefined) {
      table = this.#p.memory(2 ** split * STE.$.byteLength);
      this.#levelTwo.set(index, table);
      this.#p.put('L1STD', STREAM_TABLE + index * 8, { Span: split + 1, L2Ptr: table / 64 });
    }
    return table + (sid % 2 ** split) * STE.$.byteLength;
  }

  #stage1Tables(): Tables {
    return this.#p.stage1(this.#random.pick(GRANULES), 25 + this.#random.below(24));
  }

  /** `concatenated-tables`, `start-level`: one table at the first level, and a level that S2SL0 can name. */
  #stage2Tables(nested: boolean): Tables {
    const granule = nested ? 12 : this.#random.pick(GRANULES);
    const bits = nested ? OUTPUT_BITS : 33 + this.#random.below(12);
    const start = naturalStart(granule, bits);
    assert(start <= 2, 'a start level of stage 2');
    const tables = this.#p.stage2(granule, bits, start);
    if (nested) {
      const from = Math.floor(POOL_BASE / BLOCK_BYTES);
      for (let block = from; block < from + 6; block++) {
        tables.map(BigInt(block * BLOCK_BYTES), block * BLOCK_BYTES, {}, 2);
      }
    }
    return tables;
  }

  #stage2Ste(tables: Tables, vmid: number, nested: boolean): FieldsOf<'STE'> {
    const { granule, inputBits, startLevel, root } = tables;
    const S2SL0 = (granule === 12 ? 2 : 3) - startLevel;
    const S2TG = { 12: 0, 14: 2, 16: 1 }[granule];
    // `input-above-s2ps`: the output is as large as any input.
    const fields = { S2T0SZ: 64 - inputBits, S2SL0, S2TG, S2PS: 4, S2AA64: 1, S2R: 1, S2VMID: vmid, S2TTB: root / 16 };
    const changed = this.#change(fields, STAGE_2_CHOICES, 0.25);
    // `nested-fault-recording`
    return nested ? { ...changed, S2R: 1 } : changed;
  }

  #upperHalf(mappings: Mapping[], second: Tables | null): FieldsOf<'CD'> {
    const tables = this.#p.stage1(this.#random.pick(GRANULES), 25 + this.#random.below(24));
    const before = mappings.length;
    this.#mapSome(mappings, tables, second);
    const top = 2n ** 64n - 2n ** BigInt(tables.inputBits);
    for (let index = before; index < mappings.length; index++) {
      const mapping = mappings[index];
      if (mapping !== undefined) mappings[index] = { ...mapping, iova: mapping.iova + top };
    }
    return upperContextFields(tables);
  }

  #mapSome(mappings: Mapping[], tables: Tables, second: Tables | null): void {
    const count = 1 + this.#random.below(3);
    for (let n = 0; n < count; n++) mappings.push(this.#map(tables, second));
  }

  /** A page or block somewhere; with `second`, its output is an IPA that stage 2 maps to the target. */
  #map(tables: Tables, second: Tables | null): Mapping {
    const random = this.#random;
    const { granule, stage } = tables;
    const levels = [3, 3, 3, ...BLOCK_LEVELS[granule].filter((level) => level >= tables.startLevel)];
    const level = random.pick(levels);
    const bytes = 2 ** levelShift(granule, level);
    const slots = 2n ** BigInt(tables.inputBits) / BigInt(bytes);
    const iova = ((BigInt(random.next32()) * 2n ** 20n + BigInt(random.next32())) % slots) * BigInt(bytes);
    const page = this.#p.memory(Math.min(bytes, 2 ** 16));
    const output = Math.floor(page / bytes) * bytes;
    if (stage === 1) {
      // `aptable-first`: APTable is left out.
      const table = this.#change({}, TABLE_CHOICES, 0.1);
      tables.map(iova, this.#throughStage2(output, bytes, second), this.#leaf(1), level, table);
    } else tables.map(iova, output, this.#leaf(2), level);
    if (random.chance(0.08)) this.#spoil(tables, iova, level);
    return { tables, iova: iova + BigInt(page - output), level, bytes: bytes - (page - output), target: page };
  }

  #leaf(stage: 1 | 2): Fields {
    const fields = this.#change({}, stage === 1 ? LEAF_1_CHOICES : LEAF_2_CHOICES, 0.35);
    // `address-size-first`: an output that is out of range comes alone.
    const { OUTPUT, S2AP } = fields as { readonly OUTPUT?: number; readonly S2AP?: number };
    if (OUTPUT !== undefined) return { OUTPUT };
    // `cached-write-permission`: what reads before it writes has no read-only pages at stage 2.
    return this.#reading && S2AP === 1 ? {} : fields;
  }

  /** An IPA for `output`: the pool is mapped to itself, or a page of stage 2's own. */
  #throughStage2(output: number, bytes: number, second: Tables | null): number {
    if (second === null || bytes > 4096 || this.#random.chance(0.5)) return output;
    const ipa = BigInt(this.#random.below(2 ** 20)) * 4096n + 2n ** 36n;
    second.map(ipa, output, this.#leaf(2));
    return Number(ipa);
  }

  /** Replaces a descriptor on the way by one that leads nowhere. */
  #spoil(tables: Tables, iova: bigint, level: number): void {
    const at = tables.startLevel + this.#random.below(level - tables.startLevel + 1);
    const values = at === 3 ? [0n, 1n, 2n] : [0n, 2n, BigInt(NOWHERE) | 3n];
    this.#p.word(tables.descriptor(iova, at), this.#random.pick(values));
  }

  /** An address that a stream may use, and where its bytes are looked for. */
  #address(stream: Stream): { readonly iova: bigint; readonly physical: number } {
    const random = this.#random;
    if (stream.mappings.length === 0) {
      const page = this.#p.memory();
      const physical = random.chance(0.9) ? page : NOWHERE;
      return { iova: BigInt(physical), physical };
    }
    const mapping = random.pick(stream.mappings);
    const limit = Math.min(mapping.bytes, 2 ** 12);
    const offset = 4 * random.below(limit / 4);
    const beside = random.chance(0.2) ? BigInt(random.pick([-mapping.bytes, mapping.bytes, 2 ** 30])) : 0n;
    const iova = BigInt.asUintN(64, mapping.iova + beside + BigInt(offset));
    const small = stream.config === 6 && iova >= 2n ** BigInt(OUTPUT_BITS);
    return small ? { iova: mapping.iova, physical: mapping.target } : { iova, physical: mapping.target + offset };
  }

  #access(stream: Stream): void {
    const { iova, physical } = this.#address(stream);
    const p = this.#p;
    if (stream.device !== EDU) p.dma(iova, physical, { device: stream.device });
    else if (this.#random.chance(0.5)) p.readDma(iova);
    else p.writeDma(iova).look(physical, 4);
  }

  /** Moves or changes a leaf that was used, and looks again. */
  #remap(stream: Stream): void {
    const random = this.#random;
    const p = this.#p;
    if (stream.mappings.length === 0 || stream.device === EDU) return;
    const mapping = random.pick(stream.mappings);
    const { tables, level } = mapping;
    const input = mapping.iova % 2n ** BigInt(tables.inputBits);
    p.dma(mapping.iova, mapping.target, { device: stream.device });
    const target = p.memory(Math.min(mapping.bytes, 2 ** 16));
    const output = Math.floor(target / 2 ** levelShift(tables.granule, level)) * 2 ** levelShift(tables.granule, level);
    const fields = this.#leaf(tables.stage);
    tables.map((input / BigInt(tables.span(level))) * BigInt(tables.span(level)), output, fields, level);
    const commands = this.#afterRemap(stream, mapping);
    if (commands.length > 0) p.commands([...commands, SYNC]);
    // Within a block, the new target stands elsewhere than the old one did.
    const moved = mapping.iova + BigInt(target - output) - BigInt(mapping.target % tables.span(level));
    const iova = level === 3 ? mapping.iova : moved;
    p.dma(mapping.iova, mapping.target, { device: stream.device });
    if (commands.length > 0 && commands[0] !== SYNC) p.dma(iova, target, { device: stream.device });
    p.invalidateAll();
    if (level === 3) mapping.target = target;
    p.dma(iova, target, { device: stream.device });
  }

  /** What has to be seen, none, or what names something else (`wider-invalidation`, `global-pages`: nothing in between). */
  #afterRemap(stream: Stream, { tables, iova }: Mapping): readonly Command[] {
    const { asid: ASID, vmid: VMID } = stream;
    const Address = Number(iova / 4096n);
    const other = (VMID + 1) % 2 ** 16;
    if (tables.stage === 2) {
      return this.#random.pick<readonly Command[]>([
        [],
        [{ name: 'TLBI_S12_VMALL', fields: { VMID } }],
        [{ name: 'TLBI_NSNH_ALL' }],
        [
          { name: 'TLBI_S2_IPA', fields: { VMID, Address } },
          { name: 'TLBI_NH_ALL', fields: { VMID } },
        ],
        [{ name: 'TLBI_S12_VMALL', fields: { VMID: other } }],
      ]);
    }
    return this.#random.pick<readonly Command[]>([
      [],
      [{ name: 'TLBI_NH_VA', fields: { VMID, ASID, Address } }],
      [{ name: 'TLBI_NH_VA', fields: { VMID, ASID, Address, Leaf: 1 } }],
      [{ name: 'TLBI_NH_VAA', fields: { VMID, Address } }],
      [{ name: 'TLBI_NH_ASID', fields: { VMID, ASID } }],
      [{ name: 'TLBI_NH_ALL', fields: { VMID } }],
      [{ name: 'TLBI_NSNH_ALL' }],
      [{ name: 'TLBI_NH_ALL', fields: { VMID: other } }],
      [{ name: 'TLBI_NH_ASID', fields: { VMID, ASID: (ASID + 1) % 2 ** 16 } }],
      [{ name: 'TLBI_NH_VA', fields: { VMID, ASID: (ASID + 1) % 2 ** 16, Address } }],
    ]);
  }

  /** Changes the STE or the CD of a stream that was used, looks again, and puts it back. */
  #reconfigure(stream: Stream): void {
    const random = this.#random;
    const p = this.#p;
    if (stream.device === EDU || stream.config < 5) return;
    const { iova, physical } = this.#address(stream);
    const again = () => p.dma(iova, physical, { device: stream.device });
    const StreamID = stream.sid;
    again();
    const useCd = stream.cdAddress !== 0 && random.chance(0.5);
    if (useCd) p.put('CD', stream.cdAddress, this.#change(stream.cd, CD_CHOICES, 1));
    else p.put('STE', stream.steAddress, { ...stream.ste, ...random.pick([{ V: 0 }, { Config: 0 }, { Config: 1 }]) });
    const command: Command = useCd
      ? random.pick<Command>([
          { name: 'CFGI_CD', fields: { StreamID, Leaf: 1 } },
          { name: 'CFGI_CD_ALL', fields: { StreamID } },
          { name: 'CFGI_STE_RANGE', fields: { Range: 31 } },
        ])
      : random.pick<Command>([
          { name: 'CFGI_STE', fields: { StreamID, Leaf: 1 } },
          { name: 'CFGI_STE', fields: { StreamID } },
          { name: 'CFGI_STE_RANGE', fields: { StreamID, Range: random.below(32) } },
        ]);
    if (!stream.plain || random.chance(0.7)) p.commands([command, SYNC]);
    again();
    if (useCd) p.put('CD', stream.cdAddress, stream.cd);
    else p.put('STE', stream.steAddress, stream.ste);
    p.invalidateAll();
    again();
  }

  /** Any command, legal or not; the queue is restarted after it. */
  #command(): void {
    const random = this.#random;
    const VMID = random.below(0x1_0000);
    const StreamID = random.pick([0, 8, 0x18, 0xf5, 0x100, 0xffff]);
    const Address = random.below(2 ** 52);
    const legal: readonly Command[] = [
      { name: 'PREFETCH_CONFIG', fields: { StreamID } },
      { name: 'PREFETCH_ADDR', fields: { StreamID, Addr: Address } },
      { name: 'CFGI_STE', fields: { StreamID, Leaf: random.below(2) } },
      { name: 'CFGI_STE_RANGE', fields: { StreamID, Range: random.below(32) } },
      { name: 'CFGI_CD', fields: { StreamID, Leaf: random.below(2) } },
      { name: 'CFGI_CD_ALL', fields: { StreamID } },
      { name: 'TLBI_NH_ALL', fields: { VMID } },
      { name: 'TLBI_NH_ASID', fields: { VMID, ASID: random.below(0x1_0000) } },
      { name: 'TLBI_NH_VA', fields: { VMID, ASID: random.below(0x1_0000), Address } },
      { name: 'TLBI_NH_VAA', fields: { VMID, Address, Leaf: 1 } },
      { name: 'TLBI_NH_VAA', fields: { VMID, Address, TG: 1, NUM: 1 + random.below(31), SCALE: random.below(32) } },
      { name: 'TLBI_S12_VMALL', fields: { VMID } },
      { name: 'TLBI_S2_IPA', fields: { VMID, Address: Address % 2 ** 32 } },
      { name: 'TLBI_NSNH_ALL' },
      { name: 'SYNC', fields: { CS: random.below(3) } },
    ];
    // `commands-without-their-feature`, `sync-reserved-signal`, `reserved-range`: only opcodes that are reserved on both sides.
    const illegal: readonly Command[] = [0x00, 0x08, 0x0f, 0x14, 0x19, 0x2b, 0x42, 0x6f, 0x80, 0xff].map((opcode) => ({
      words: { 0: opcode },
    }));
    const commands = Array.from({ length: 1 + random.below(4) }, () =>
      random.pick(random.chance(0.1) ? illegal : legal),
    );
    this.#p.commands([...commands, SYNC]).add({ op: 'restart' });
  }

  /** SMMUEN off: the address is physical; then on again. */
  #offAndOn(stream: Stream): void {
    const p = this.#p;
    if (stream.device === EDU) return;
    const page = p.memory();
    p.set('CR0', 0xc).dma(BigInt(page), page, { device: stream.device }).set('CR0', 0xd).invalidateAll();
    this.#access(stream);
  }
}

/** The program of a seed; the same seed gives the same program. */
export function randomProgram(seed: string): Program {
  const random = new Random(seed);
  const queues = { commands: 3 + random.below(6), events: random.below(8) };
  return program(seed, (p) => new Generator(p, random).run(), queues);
}
