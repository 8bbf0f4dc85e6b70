/** Which random programs a run takes. */
export const SEED = process.env['FAULTLINE_PEER_SEED'] ?? new Date().toISOString().slice(0, 10);
export const RUNS = Number(process.env['FAULTLINE_PEER_RUNS'] ?? 2000);
