// Delays between retries: 0.5, 1, 2, 4, 8, then 15 s, with ±25 % jitter, so that clients do not all
// reconnect at the same moment after a restart.

export const retryDelay = (failures) => Math.min(15000, 500 * 2 ** failures) * (0.75 + Math.random() / 2);

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
