/** Translation Requests and Translated transactions (IHI 0070 §3.9.1.2, §3.9.1.3, §13.7). */

/** What an ordinary transaction would be, and what a Translation Request with the same properties gets (§3.9.1.2). */
export interface TranslationErrorFact {
  readonly events: readonly string[];
  readonly response: 'CA' | 'denied' | 'granted';
  /** Which bits of CR2 record the event. */
  readonly recorded: 'never' | 'REC_CFG_ATS' | 'REC_CFG_ATS and RECINVSID';
}

export const TRANSLATION_ERRORS: readonly TranslationErrorFact[] = [
  { events: ['C_BAD_STREAMID'], response: 'CA', recorded: 'REC_CFG_ATS and RECINVSID' },
  {
    events: [
      'F_STE_FETCH',
      'C_BAD_STE',
      'C_BAD_SUBSTREAMID',
      'F_STREAM_DISABLED',
      'F_WALK_EABT',
      'F_CD_FETCH',
      // The table does not name C_BAD_CD; it is a configuration error like the others.
      'C_BAD_CD',
    ],
    response: 'CA',
    recorded: 'REC_CFG_ATS',
  },
  { events: ['F_ADDR_SIZE', 'F_ACCESS', 'F_TRANSLATION'], response: 'denied', recorded: 'never' },
  { events: ['F_PERMISSION'], response: 'granted', recorded: 'never' },
];

/** Requests, pages and what is granted: the table of §13.7, with Success. X means executable by that privilege. */
export interface GrantFact {
  readonly NW: 0 | 1;
  readonly Exe: 0 | 1;
  readonly Priv: 0 | 1;
  readonly user: string;
  readonly priv: string;
  readonly xn: 0 | 1;
  readonly R: 0 | 1;
  /** null: 0 or 1. */
  readonly W: 0 | 1 | null;
  readonly X: 0 | 1;
}

export const GRANTS: readonly GrantFact[] = [
  { NW: 1, Exe: 0, Priv: 0, user: 'RO', priv: 'RW', xn: 0, R: 1, W: 0, X: 0 },
  { NW: 0, Exe: 0, Priv: 0, user: 'RW', priv: 'RW', xn: 0, R: 1, W: 1, X: 0 },
  { NW: 0, Exe: 0, Priv: 0, user: 'RO', priv: 'RW', xn: 0, R: 1, W: 0, X: 0 },
  { NW: 0, Exe: 0, Priv: 1, user: 'RO', priv: 'RW', xn: 0, R: 1, W: 1, X: 0 },
  { NW: 1, Exe: 1, Priv: 0, user: 'RW', priv: 'RW', xn: 1, R: 1, W: null, X: 0 },
  { NW: 0, Exe: 0, Priv: 0, user: 'RW', priv: 'RW', xn: 1, R: 1, W: 1, X: 0 },
  { NW: 0, Exe: 1, Priv: 0, user: 'RW', priv: 'RW', xn: 0, R: 1, W: 1, X: 1 },
  { NW: 0, Exe: 1, Priv: 0, user: 'X', priv: 'RW', xn: 0, R: 0, W: 0, X: 0 },
];
