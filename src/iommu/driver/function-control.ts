/** What the driver switches in a function's configuration space. The platform joins it with config-space writes. */

/** ATS, PRI and PASID capabilities of one function (PCIe §10.5, §7.8.9). Each call has taken effect when it returns. */
export interface PciFunctionControl {
  /** PASID Enable. Set before ATS is enabled and cleared after it is disabled, as the capability demands. */
  enablePasid(): void;
  disablePasid(): void;
  enableAts(): void;
  disableAts(): void;
  /**
   * Page request Enable with an allocation of `credits` outstanding requests. False when the function cannot: a virtual
   * function uses its physical function's interface, which must be on.
   */
  enablePri(credits: number): boolean;
  disablePri(): void;
  /** Page request status Stopped: disabled, and no request outstanding. */
  priStopped(): boolean;
}
