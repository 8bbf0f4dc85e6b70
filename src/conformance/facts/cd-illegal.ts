/** Context descriptor: what makes it ILLEGAL (IHI 0070 §5.4.2), Non-secure, v3.1 and later. */
import type { IllegalFact } from './ste-illegal.ts';

export const CD_ILLEGAL: readonly IllegalFact[] = [
  { id: 'v0', section: '5.4, 5.4.2', condition: 'V=0' },
  { id: 's-disabled', section: '5.4.2, 5.5', condition: 'STE.S1STALLD=1 and S=1' },
  { id: 'a-required', section: '5.4.2, 5.5', condition: 'IDR0.TERM_MODEL=1 and A=0' },
  { id: 's-unsupported', section: '5.4.2, 5.5', condition: 'IDR0.STALL_MODEL=0b01 and S=1' },
  { id: 's-forced', section: '5.4.2, 5.5', condition: 'IDR0.STALL_MODEL=0b10 and S=0' },
  {
    id: 'endi',
    section: '5.4, 5.4.2',
    condition: 'EPD0 or EPD1 effectively 0, and IDR0.TTENDIAN=0b10 with ENDI=1, or IDR0.TTENDIAN=0b11 with ENDI=0',
  },
  {
    id: 'aa64-32',
    section: '5.4, 5.4.2',
    condition: 'VMSAv8-32 LPAE selected (AA64=0, D128=0) and IDR0.TTF[0]=0 or StreamWorld is EL3, any-EL2-E2H or S-EL2',
  },
  { id: 'aa64-64', section: '5.4, 5.4.2', condition: 'AA64=1 and IDR0.TTF[1]=0' },
  { id: 'aa64-s2-32', section: '5.4, 5.4.2', condition: 'AA64=1, STE.Config=0b11x, STE.S2AA64=0, IDR5.D128=0' },
  { id: 'ha-none', section: '5.4, 5.4.2', condition: 'VMSAv8-64, HA=1 or HD=1, IDR0.HTTU=0b00' },
  { id: 'hd-none', section: '5.4, 5.4.2', condition: 'VMSAv8-64, HD=1, IDR0.HTTU=0b01' },
  { id: 'haft', section: '5.4, 5.4.2', condition: 'VMSAv8-64, IDR0.HTTU=0b11, HAFT=1, HA=0' },
  { id: 'asid-8bit', section: '5.4, 5.4.2', condition: 'IDR0.ASID16=0, ASID[15:8] nonzero, StreamWorld uses ASIDs' },
  {
    id: 't0sz',
    section: '5.4, 5.4.1.1, 5.4.2',
    condition: 'effective EPD0=0, not VMSAv8-32, T0SZ outside its range',
    note: 'v3.0 may clamp instead',
  },
  {
    id: 't1sz',
    section: '5.4, 5.4.1.1, 5.4.2',
    condition: 'effective EPD1=0, not VMSAv8-32, T1SZ outside its range',
    note: 'v3.0 may clamp instead',
  },
  { id: 'tg0', section: '5.4, 5.4.2', condition: 'effective EPD0=0, not VMSAv8-32, TG0 reserved or unsupported' },
  { id: 'tg1', section: '5.4, 5.4.2', condition: 'effective EPD1=0, not VMSAv8-32, TG1 reserved or unsupported' },
  {
    id: 'ttb0-range',
    section: '5.4, 5.4.2',
    condition:
      'effective EPD0=0 and TTB0 beyond the effective IPS, or beyond 48 bits with VMSAv8-64, 4KB/16KB and DS=0',
  },
  {
    id: 'ttb1-range',
    section: '5.4, 5.4.2',
    condition:
      'effective EPD1=0 and TTB1 beyond the effective IPS, or beyond 48 bits with VMSAv8-64, 4KB/16KB and DS=0',
  },
  {
    id: 'd128',
    section: '5.4, 5.4.2',
    condition: 'VMSAv9-128 and any of: STE.S1PIE=0; StreamWorld any-EL2; SKLx gives a start level above 3',
  },
  {
    id: 'pii',
    section: '5.4, 5.4.2',
    condition:
      'permission indirection in use and PIIP, or PIIU where unprivileged exists, holds 0b100 or 0b110, or privileged execute together with unprivileged write',
  },
];
