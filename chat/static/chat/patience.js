// How long to wait before the next try: 0.5, 1, 2, 4, 8, then 15 s, a little uneven, so that not
// everybody comes back in the same moment after a restart.

export const delay = (failures) => Math.min(15000, 500 * 2 ** failures) * (0.75 + Math.random() / 2);

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
