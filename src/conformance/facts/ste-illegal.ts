/** Stream table entry: what makes it ILLEGAL (IHI 0070 §5.2.2), Non-secure, v3.1 and later. */

export interface IllegalFact {
  readonly id: string;
  readonly section: string;
  readonly condition: string;
  readonly note?: string;
}

export const STE_ILLEGAL: readonly IllegalFact[] = [
  { id: 'v0', section: '5.2, 5.2.2', condition: 'V=0', note: 'all other fields ignored' },
  { id: 's1-unimplemented', section: '5.2, 5.2.2', condition: 'Config=0b1x1 and IDR0.S1P=0' },
  { id: 's2-unimplemented', section: '5.2, 5.2.2', condition: 'Config=0b11x and IDR0.S2P=0' },
  { id: 's2-secure-unimplemented', section: '5.2, 5.2.2', condition: 'Config=0b11x, Secure STE, S_IDR1.SEL2=0' },
  {
    id: 's2-secure-vmsa32',
    section: '5.2, 5.2.2',
    condition: 'Config=0b11x, STE not Non-secure, stage 2 selects VMSAv8-32 LPAE',
  },
  {
    id: 'eats-split',
    section: '5.2, 5.2.2',
    condition: 'EATS=0b10 (not ignored) and any of: Config is not 0b111; S2S=1; IDR0.NS1ATS=1',
  },
  {
    id: 'eats-full-stall',
    section: '5.2, 5.2.2',
    condition: 'EATS=0b01 (not ignored), Config=0b11x, S2S=1',
    note: 'v3.1 and later; v3.0 may also apply it when Config=0b10x',
  },
  {
    id: 'eats-dpt-stall',
    section: '5.2',
    condition: 'EATS=0b11 (not ignored), Config=0b11x, S2S=1',
    note: 'in the field text, not in the pseudocode',
  },
  {
    id: 'eats-dpt-world',
    section: '5.2, 5.2.2',
    condition: 'EATS=0b11 (not ignored), IDR3.DPT=1, STRW used and not 0b00',
  },
  {
    id: 'strw-reserved',
    section: '5.2, 5.2.2',
    condition: 'Non-secure STE, STRW used (stage 1 only, S1P=1, Hyp=1), STRW=0bx1',
  },
  { id: 's1stalld', section: '5.2, 5.2.2, 5.5', condition: 'Config=0b1x1, S1STALLD=1, IDR0.STALL_MODEL not 0b00' },
  { id: 's1cdmax', section: '5.2, 5.2.2', condition: 'Config=0b1x1, IDR1.SSIDSIZE>0, S1CDMax greater than SSIDSIZE' },
  {
    id: 's1fmt',
    section: '5.2, 5.2.2',
    condition: 'Config=0b1x1, IDR1.SSIDSIZE>0, S1CDMax>0, IDR0.CD2L=0, S1Fmt=0b01 or 0b10',
  },
  {
    id: 's1ctxptr-pa',
    section: '3.4.3 note 1, 5.2.2',
    condition: 'Config=0b101 and S1ContextPtr beyond OAS',
    note: 'v3.1 and later; v3.0 may instead truncate or give F_CD_FETCH',
  },
  {
    id: 's1ctxptr-ipa',
    section: '3.4.3 note 2, 5.2.2',
    condition: 'Config=0b111 and S1ContextPtr beyond IAS',
    note: 'CONSTRAINED UNPREDICTABLE: this, or a stage 2 translation fault with CLASS=CD',
  },
  {
    id: 's2fwb-vmsa32',
    section: '5.2, 5.2.2',
    condition: 'Config=0b11x, IDR3.FWB=1, S2FWB=1, stage 2 selects VMSAv8-32 LPAE',
  },
  { id: 's2s-nostall', section: '5.2.2, 5.5', condition: 'Config=0b11x, S2S=1, IDR0.STALL_MODEL=0b01' },
  { id: 's2s-forced', section: '5.2.2, 5.5', condition: 'Config=0b11x, S2S=0, IDR0.STALL_MODEL=0b10' },
  {
    id: 's2aa64-32',
    section: '5.2, 5.2.2',
    condition: 'Config=0b11x, VMSAv8-32 LPAE selected, IDR0.TTF[0]=0, IDR5.D128=0',
  },
  { id: 's2aa64-64', section: '5.2, 5.2.2', condition: 'Config=0b11x, VMSAv8-64 selected, IDR0.TTF[1]=0' },
  {
    id: 's2ha-none',
    section: '5.2, 5.2.2',
    condition: 'Config=0b11x, S2HA=1 or S2HD=1, and IDR0.HTTU=0b00 or stage 2 is VMSAv8-32 LPAE',
  },
  { id: 's2hd-none', section: '5.2, 5.2.2', condition: 'Config=0b11x, S2HD=1, IDR0.HTTU=0b01' },
  { id: 's2haft', section: '5.2, 5.2.2', condition: 'Config=0b11x, IDR0.HTTU=0b11, S2HAFT=1, S2HA=0' },
  {
    id: 's2tg',
    section: '5.2, 5.2.2',
    condition: 'Config=0b11x, not VMSAv8-32, S2TG reserved or not supported by IDR5',
  },
  { id: 's2ttb-range', section: '5.2, 5.2.2', condition: 'Config=0b11x and S2TTB beyond the effective S2PS' },
  {
    id: 's2ttb-48',
    section: '5.2, 5.2.2',
    condition: 'Config=0b11x, VMSAv8-64, S2TG is 4KB or 16KB, S2DS=0, S2TTB beyond 48 bits',
  },
  {
    id: 's2t0sz-max',
    section: '5.2, 5.2.2',
    condition: 'Config=0b11x, VMSAv8-64, S2T0SZ above 39 (STT=0), above 48 (STT=1, 4KB/16KB) or above 47 (STT=1, 64KB)',
    note: 'always ILLEGAL from v3.1; v3.0 may clamp',
  },
  {
    id: 's2t0sz-min',
    section: '5.2, 5.2.2',
    condition:
      'Config=0b11x, VMSAv8-64, S2T0SZ below MAX(16, 64-IAS), or below MAX(12, 64-IAS) with 64KB or (IDR5.DS=1 and S2DS=1)',
    note: 'always ILLEGAL from v3.1; v3.0 minimum is 64-IAS',
  },
  {
    id: 's2sl0-inconsistent',
    section: '5.2, 5.2.2',
    condition: 'Config=0b11x and S2SL0 (with S2SL0_2) does not fit S2T0SZ and S2TG',
    note: 'see vmsa-lpae stage 2 start level tables',
  },
  {
    id: 's2endi',
    section: '5.2, 5.2.2',
    condition: 'Config=0b11x and S2ENDI selects an endianness not allowed by IDR0.TTENDIAN',
  },
  { id: 's2pie-vmsa32', section: '5.2, 5.2.2', condition: 'Config=0b11x, IDR3.S2PI=1, S2PIE=1, VMSAv8-32 LPAE' },
  {
    id: 's2poe',
    section: '5.2, 5.2.2',
    condition:
      'Config=0b11x, IDR3.S2PO=1, S2POE=1 and any of: direct permissions in use; S2HWU59..62 nonzero with PBHA=1; an S2POI entry of 0b0001 or 0b0101',
  },
  {
    id: 's2vmid-8bit',
    section: '5.2, 5.2.2',
    condition: 'IDR0.VMID16=0 and S2VMID[15:8] nonzero while S2VMID is not ignored',
  },
  { id: 'vmsptr', section: '5.2, 5.2.2', condition: 'Config=0b111, S1MPAM=1, MPAM enabled, VMSPtr beyond OAS' },
];
