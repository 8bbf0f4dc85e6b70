/** Stream table entry and level 1 stream table descriptor, IHI 0070 G.b §5.1 and §5.2. Data only. */
import { struct } from '../../layout/struct.ts';

export const STE = struct('stream table entry', 'IHI 0070 §5.2', 64, {
  V: 0,
  Config: [3, 1],
  S1Fmt: [5, 4],
  S1ContextPtr: [55, 6],
  S1CDMax: [63, 59],
  S1DSS: [65, 64],
  S1CIR: [67, 66],
  S1COR: [69, 68],
  S1CSH: [71, 70],
  S2HWU59: 72,
  S2HWU60: 73,
  S2HWU61: 74,
  S2HWU62: 75,
  DRE: 76,
  CONT: [80, 77],
  DCP: 81,
  PPAR: 82,
  MEV: 83,
  SW_RESERVED: [87, 84],
  S1PIE: 88,
  S2FWB: 89,
  S1MPAM: 90,
  S1STALLD: 91,
  EATS: [93, 92],
  STRW: [95, 94],
  MemAttr: [99, 96],
  MTCFG: 100,
  ALLOCCFG: [104, 101],
  SHCFG: [109, 108],
  NSCFG: [111, 110],
  PRIVCFG: [113, 112],
  INSTCFG: [115, 114],
  S2VMID: [143, 128],
  S2T0SZ: [165, 160],
  S2SL0: [167, 166],
  S2IR0: [169, 168],
  S2OR0: [171, 170],
  S2SH0: [173, 172],
  S2TG: [175, 174],
  S2PS: [178, 176],
  S2AA64: 179,
  S2ENDI: 180,
  S2AFFD: 181,
  S2PTW: 182,
  S2HD: 183,
  S2HA: 184,
  S2S: 185,
  S2R: 186,
  S2HAFT: 187,
  S2PIE: 188,
  S2POE: 189,
  DPT_VMATCH: [191, 190],
  S2NSW: 192,
  S2NSA: 193,
  S2SL0_2: 194,
  S2DS: 195,
  S2TTB: [247, 196],
  S2SKL: [254, 253],
  PARTID: [287, 272],
  S_S2T0SZ: [293, 288],
  S_S2SL0: [295, 294],
  S_S2TG: [303, 302],
  MECID: [319, 304],
  PMG: [327, 320],
  MPAM_NS: 328,
  AssuredOnly: 329,
  TL0: 330,
  TL1: 331,
  VMSPtr: [375, 332],
  S2SW: 384,
  S2SA: 385,
  S_S2SL0_2: 386,
  S_S2TTB: [439, 388],
  S_S2SKL: [446, 445],
  S2POI_LOW: [479, 448],
  S2POI_HIGH: [511, 480],
});

export const L1STD = struct('level 1 stream table descriptor', 'IHI 0070 §5.1', 8, {
  Span: [4, 0],
  L2Ptr: [55, 6],
});

/** STE.Config (§5.2). Values below 4 abort every transaction without an event. */
export const SteConfig = { ABORT: 0, BYPASS: 4, STAGE_1: 5, STAGE_2: 6, NESTED: 7 } as const;

/** STE.EATS (§5.2). */
export const Eats = { DISABLED: 0, ENABLED: 1, SPLIT_STAGE: 2 } as const;

/** STE.S1DSS: what happens to a transaction without a SubstreamID when the CD table has several entries (§5.2). */
export const S1Dss = { TERMINATE: 0, BYPASS: 1, SUBSTREAM_0: 2 } as const;

/** STE.S1Fmt: shape of the CD table (§5.2). */
export const S1Fmt = { LINEAR: 0, TWO_LEVEL_4K: 1, TWO_LEVEL_64K: 2 } as const;
