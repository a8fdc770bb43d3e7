// Where leaving costs much more than it gains.

const LEAST_BULGE = 0.05; // of the front's range
const LEAST_RATIO = 1.1; // of what a move gives up to what it gains
const FAR = 0.25; // of the front's range in some measure

RULES.Knee = {
  choose(among) {
    const distinct = new Set(among.costs.map((c) => c.map((x) => x + 0).join())).size;
    if (distinct < 3) {
      return none(`no knee: it is undefined on ${distinct} distinct non-dominated point(s), 3 are needed`);
    }
    const varies = range(among.m).filter((j) => among.spans[j]);
    if (varies.length < 2) return none("no knee: fewer than two objectives vary over the front");
    const scaled = among.costs.map((c) => varies.map((j) => (c[j] - among.low[j]) / among.spans[j]));
    return varies.length === 2 ? bulge(among, scaled) : trade(among, scaled);
  },
};

function bulge(among, scaled) {
  const below = scaled.map(([x, y]) => nineDecimals(1 - (x + y)));
  const order = ranked(below.map((b) => -b));
  const [k, next] = order;
  if (below[k] < LEAST_BULGE) {
    const shape = smallest(below) < -LEAST_BULGE ? "bulges away from the ideal" : "is flat";
    return none(`no knee: the front ${shape} (its largest bulge is ${fixed(below[k], 3)} of its range)`);
  }
  let why = `${among.named(k)} is the knee of the ${countOf(order)} that none dominates: `;
  why += `it lies ${fixed(below[k], 2)} of the front's range below the line through its ends`;
  if (order.length > 1) why += `; next is ${among.ids[next]} with ${fixed(below[next], 2)}`;
  return among.chosen(order, why);
}

function trade(among, scaled) {
  const rows = scaled.map((row) => Float64Array.from(row));
  const least = rows.map((row) => leastRatio(row, rows));
  const order = ranked(least.map((x) => -x));
  const [k, next] = order;
  if (least[k] < LEAST_RATIO) {
    const shape = Math.min(1, smallest(least)) > 1 / LEAST_RATIO ? "is flat" : "bulges away from the ideal";
    const most = fixed(least[k], 3);
    return none(`no knee: the front ${shape} (every point can be left giving up ${most} of what it gains, or less)`);
  }
  let why = `${among.named(k)} is the knee of the ${countOf(order)} that none dominates: `;
  why += `to leave it gives up ${fixed(least[k], 2)} times what it gains, or more`;
  if (order.length > 1) why += `; next is ${among.ids[next]} with ${fixed(least[next], 2)}`;
  return among.chosen(order, why);
}

// What the best move to a far point gives up, for what it gains.
function leastRatio(row, rows) {
  let least = Infinity;
  for (const other of rows) {
    let [far, worse, better] = [false, 0, 0];
    for (let j = 0; j < row.length; j++) {
      const step = other[j] - row[j];
      if (step > 0) worse += step;
      else better -= step;
      far ||= step >= FAR || step <= -FAR;
    }
    if (!far) continue;
    if (row.length > 7) [worse, better] = sideSums(row, other);
    least = Math.min(least, worse / better);
  }
  return least;
}

function sideSums(row, other) {
  const steps = Array.from(other, (x, j) => x - row[j]);
  return [sum(steps.map((x) => Math.max(x, 0))), sum(steps.map((x) => Math.max(-x, 0)))];
}
