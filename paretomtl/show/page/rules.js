// The rules of `paretomtl/front/rules/`, line by line on the same doubles: same choice, same runners-up, same words.
// A rule here is {kind, …} with objectives by their place: `bounds`, `aspirations`, `weights` hold a number or null each.

const SHOWN = 3; // runners-up
const [LEAST_BULGE, LEAST_RATIO, FAR] = [0.05, 1.1, 0.25]; // of the knee
const AUGMENTATION = 1e-4; // of the achievement function

class Refused extends Error {} // a rule that makes no sense, or one that the front knows too little for

const range = (n) => Array.from({ length: n }, (_, k) => k);
const largest = (numbers) => numbers.reduce((a, b) => (b > a ? b : a));
const smallest = (numbers) => numbers.reduce((a, b) => (b < a ? b : a));
const countOf = (points) => (points.length === 1 ? "1 point" : `${points.length} points`);
const shown = (value, objective) => general(value, 4) + (objective.unit ? ` ${objective.unit}` : "");

// The order of the points by keys, the first counts most; equal ones stay in the order of their ids.
function lexsort(points, ...keys) {
  return [...points].sort((a, b) => {
    for (const key of keys) {
      const [x, y] = [key(a), key(b)];
      if (x < y) return -1;
      if (x > y) return 1;
    }
    return a - b;
  });
}

function ranked(...scores) {
  const keys = scores.map((score) => score.map(nineDecimals));
  return lexsort(range(scores[0].length), ...keys.map((key) => (k) => key[k]));
}

// What rules see: the points that none dominates, in the order of their ids.
class Candidates {
  constructor(data) {
    this.objectives = data.objectives;
    this.names = data.objectives.map((o) => o.name);
    this.m = this.names.length;
    this.n = data.free.length;
    this.ids = data.free.map((i) => data.ids[i]);
    const row = (all, k) => Array.from(all.subarray(k * this.m, (k + 1) * this.m));
    this.values = data.free.map((i) => row(data.values, i));
    this.signs = data.objectives.map((o) => o.sign);
    this.costs = this.values.map((v) => v.map((x, j) => x * this.signs[j]));
    const column = (j) => this.costs.map((c) => c[j]);
    this.low = range(this.m).map((j) => smallest(column(j)));
    this.high = range(this.m).map((j) => largest(column(j)));
    this.spans = range(this.m).map((j) => {
      const span = this.high[j] - this.low[j];
      const size = Math.max(Math.abs(this.low[j]), Math.abs(this.high[j]), 1e-300);
      return span <= 1e-12 * size ? 0 : span;
    });
    this.ideals = data.ideals;
    this.margins = {};
    for (const [level, widths] of Object.entries(data.margins)) {
      this.margins[level] = range(this.n).map((k) => row(widths, k));
    }
    this.errors = data.errors && range(this.n).map((k) => row(data.errors, k));
  }

  number(k, j) {
    return shown(this.values[k][j], this.objectives[j]);
  }

  named(k) {
    return `${this.ids[k]} (${this.names.map((name, j) => `${name} ${this.number(k, j)}`).join(", ")})`;
  }

  // gains and gives up: above 0, null where there is none
  against(k, chosen) {
    const better = this.costs[chosen].map((c, j) => c - this.costs[k][j]);
    return {
      id: this.ids[k],
      gains: better.map((b) => (b > 0 ? b : null)),
      givesUp: better.map((b) => (b < 0 ? -b : null)),
    };
  }

  chosen(order, why) {
    const runnersUp = order.slice(1, 1 + SHOWN).map((k) => this.against(k, order[0]));
    return { kind: "chosen", id: this.ids[order[0]], why, runnersUp };
  }
}

function none(why) {
  return { kind: "none", id: null, why, runnersUp: [] };
}

function finiteRow(numbers, names, what) {
  const missing = names.filter((_, j) => !Number.isFinite(numbers[j]));
  if (missing.length) throw new Refused(`give a number for ${missing.join(" and ")}: ${what} for each objective`);
  return numbers;
}

// --- the best in one measure among the points that keep bounds ---

function constraint(among, { best, bounds, margin = null }) {
  const bounded = range(among.m).filter((j) => Number.isFinite(bounds[j]));
  const { names, signs, objectives } = among;
  const widths = margin === null || !bounded.length ? null : among.margins[margin];
  if (widths === undefined) throw new Refused("how uncertain these measures are is unknown");
  const atWorst = widths ? among.costs.map((c, k) => c.map((x, j) => x + widths[k][j])) : among.costs;
  const excess = atWorst.map((c) => c.map((x, j) => (bounded.includes(j) ? Math.max(x - signs[j] * bounds[j], 0) : 0)));
  const feasible = range(among.n).filter((k) => !excess[k].some((x) => x !== 0));
  let said = bounded.map((j) => `${names[j]} ${signs[j] < 0 ? "≥" : "≤"} ${general(bounds[j])}`).join(" and ");
  if (said && margin !== null) said += ` at ${general(Number(margin), 4)} confidence`;
  if (!feasible.length) return nearest(among, excess, widths, said);
  const keys = [best, ...range(among.m).filter((j) => j !== best)];
  const order = lexsort(feasible, ...keys.map((j) => (k) => among.costs[k][j]));
  const superlative = objectives[best].sign < 0 ? "highest" : "lowest";
  let why = `${among.ids[order[0]]} has the ${superlative} ${names[best]}, ${among.number(order[0], best)}, `;
  why += `of the ${countOf(feasible)} ${said ? `with ${said}` : "that none dominates"}`;
  if (widths) {
    const kept = bounded.map((j) => `${names[j]} = ${general(signs[j] * atWorst[order[0]][j], 4)}`);
    why += `; it keeps ${kept.join(", ")} at worst`;
  }
  if (order.length > 1) why += `; next is ${among.ids[order[1]]} with ${among.number(order[1], best)}`;
  return among.chosen(order, why);
}

function nearest(among, excess, widths, said) {
  const worst = excess.map((e) => largest(e.map((x, j) => x / (among.spans[j] > 0 ? among.spans[j] : 1))));
  const k = worst.indexOf(smallest(worst));
  const broken = range(among.m).filter((j) => excess[k][j] > 0);
  const values = broken.map((j) => {
    const measured = `${among.names[j]} = ${general(among.values[k][j], 8)}`;
    if (!widths) return measured;
    return `${measured}, at worst ${general(among.values[k][j] + among.signs[j] * widths[k][j], 8)}`;
  });
  const why = `no point of the front has ${said}; nearest is ${among.ids[k]} with ${values.join(", ")}`;
  return { kind: "infeasible", id: null, nearest: among.ids[k], why, runnersUp: [] };
}

// --- one measure after the other ---

function lexicographic(among, { order: places, within, errors }) {
  const { names } = among;
  for (const j of places) {
    if ((within[j] ?? 0) < 0 || (errors[j] ?? 0) < 0) throw new Refused(`the tolerance of ${names[j]} is negative`);
  }
  let [left, dropped] = [range(among.n), []];
  const told = [];
  for (const j of places.slice(0, -1)) {
    const best = left.reduce((a, b) => (among.costs[b][j] < among.costs[a][j] ? b : a));
    const tolerance = toleranceOf(among, best, j, within, errors);
    const near = (k) => among.costs[k][j] - among.costs[best][j] - tolerance <= 1e-9 * among.spans[j];
    const far = left.filter((k) => !near(k));
    dropped = [...lexsort(far, (k) => among.costs[k][j]), ...dropped];
    left = left.filter(near);
    const how = tolerance ? `within ${general(tolerance, 4)} of ` : "with ";
    told.push(`${how}the best ${names[j]}, ${among.number(best, j)}`);
  }
  const last = places.at(-1);
  const rest = range(among.m).filter((j) => !places.includes(j));
  const keys = [last, ...rest, ...places.slice(0, -1)];
  const order = lexsort(left, ...keys.map((j) => (k) => among.costs[k][j]));
  const superlative = among.objectives[last].sign < 0 ? "highest" : "lowest";
  let why = `${among.ids[order[0]]} has the ${superlative} ${names[last]}, ${among.number(order[0], last)}, `;
  why += `of the ${countOf(left)} ${told.length ? told.join(" and ") : "that none dominates"}`;
  return among.chosen([...order, ...dropped], why);
}

function toleranceOf(among, best, j, within, errors) {
  if (!Number.isFinite(errors[j])) return within[j] ?? 0;
  if (!among.errors) throw new Refused("standard errors of these measures are unknown");
  const error = among.errors[best][j];
  if (!Number.isFinite(error)) {
    throw new Refused(`the standard error of ${among.names[j]} at ${among.ids[best]} is unknown`);
  }
  return errors[j] * error;
}

// --- scores of the front's range ---

function referencePoint(among, { aspirations }) {
  const wanted = finiteRow(aspirations, among.names, "an aspiration");
  const varies = range(among.m).filter((j) => among.spans[j]);
  const asked = among.names.map((name, j) => `${name} ${general(wanted[j])}`).join(", ");
  if (!varies.length) return among.chosen(range(among.n), `${among.named(0)} is equal to every other point`);
  const miss = among.costs.map((c) => varies.map((j) => (c[j] - among.signs[j] * wanted[j]) / among.spans[j]));
  const order = ranked(miss.map((row) => largest(row) + AUGMENTATION * sum(row, false)));
  const [k] = order;
  const most = largest(miss[k]);
  const where = among.names[varies[miss[k].indexOf(most)]];
  const amount = `${general(Math.abs(most), 3)} of the front's range, in ${where}`;
  const far = most > 0 ? `misses them by at most ${amount}` : `betters each by at least ${amount}`;
  return among.chosen(order, `${among.named(k)} comes nearest to ${asked}: it ${far}`);
}

function weights(among, { weights: given, sum: linear }) {
  finiteRow(given, among.names, "a weight");
  if (given.some((w) => w < 0) || !given.some((w) => w)) throw new Refused("weights must be at least 0, and not all 0");
  const whole = sum(given);
  const share = given.map((w) => w / whole);
  const spans = among.spans.map((s) => (s > 0 ? s : 1));
  const scaled = among.costs.map((c) => c.map((x, j) => (x - among.low[j]) / spans[j]));
  const parts = scaled.map((row) => row.map((x, j) => share[j] * (among.spans[j] > 0 ? x : 0)));
  const total = parts.map((row) => sum(row));
  const worst = parts.map(largest);
  const order = linear
    ? ranked(
        total,
        scaled.map((row) => sum(row)),
      )
    : ranked(worst, total);
  const [k] = order;
  const asked = among.names.map((name, j) => `${name} ${general(share[j], 3)}`).join(", ");
  return among.chosen(
    order,
    `${among.named(k)} has the least weighted ${linear ? "sum" : "maximum"} of its distances from the best measures, ` +
      `${general(linear ? total[k] : worst[k], 3)} of the front's range, at the weights ${asked}`,
  );
}

function minMaxRegret(among) {
  const ideal = among.low.map((c, j) => (among.ideals ? Math.min(c, among.signs[j] * among.ideals[j]) : c));
  const span = among.spans.map((s, j) => (s > 0 ? among.high[j] - ideal[j] : 0));
  const regret = among.costs.map((c) => c.map((x, j) => (span[j] > 0 ? (x - ideal[j]) / span[j] : 0)));
  const worst = regret.map(largest);
  const order = ranked(
    worst,
    regret.map((row) => sum(row)),
  );
  const [k] = order;
  const parts = among.names.map((name, j) => `${percent(regret[k][j])} in ${name}`).join(", ");
  let why = `${among.named(k)} has the least worst regret, ${general(worst[k], 3)} of the way from the ideal to the `;
  why += `front's worst: ${parts}`;
  if (order.length > 1) why += `; next is ${among.ids[order[1]]} with ${general(worst[order[1]], 3)}`;
  return among.chosen(order, why);
}

// --- the knee ---

function knee(among) {
  const distinct = new Set(among.costs.map((c) => c.map((x) => x + 0).join())).size;
  if (distinct < 3) {
    return none(`no knee: it is undefined on ${distinct} distinct non-dominated point(s), 3 are needed`);
  }
  const varies = range(among.m).filter((j) => among.spans[j]);
  if (varies.length < 2) return none("no knee: fewer than two objectives vary over the front");
  const scaled = among.costs.map((c) => varies.map((j) => (c[j] - among.low[j]) / among.spans[j]));
  return varies.length === 2 ? bulge(among, scaled) : trade(among, scaled);
}

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
  const least = rows.map((here) => leastRatio(here, rows));
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
function leastRatio(here, scaled) {
  let least = Infinity;
  for (const there of scaled) {
    let [far, worse, better] = [false, 0, 0];
    for (let j = 0; j < here.length; j++) {
      const step = there[j] - here[j];
      if (step > 0) worse += step;
      else better -= step;
      far ||= step >= FAR || step <= -FAR;
    }
    if (!far) continue;
    if (here.length > 7) [worse, better] = sideSums(here, there);
    least = Math.min(least, worse / better);
  }
  return least;
}

function sideSums(here, there) {
  const steps = Array.from(there, (x, j) => x - here[j]);
  return [sum(steps.map((x) => Math.max(x, 0))), sum(steps.map((x) => Math.max(-x, 0)))];
}

// --- all of them ---

const RULES = {
  Constraint: constraint,
  Knee: knee,
  Lexicographic: lexicographic,
  MinMaxRegret: minMaxRegret,
  ReferencePoint: referencePoint,
  Weights: weights,
};

// {kind: "chosen", id, why, runnersUp}; "none" where there is no knee; "infeasible" with the nearest; "refused".
function choose(among, rule) {
  try {
    return RULES[rule.kind](among, rule);
  } catch (error) {
    if (error instanceof Refused) return { kind: "refused", id: null, why: error.message, runnersUp: [] };
    throw error;
  }
}

// The rule as Python writes it; what is 0 or none is left out, as it is by default.
function pythonRule(rule, names) {
  const given = (numbers) => {
    const entries = names.flatMap((name, j) =>
      Number.isFinite(numbers[j]) ? [`${pythonText(name)}: ${pythonFloat(numbers[j])}`] : [],
    );
    return `{${entries.join(", ")}}`;
  };
  const parts = [];
  if (rule.kind === "Constraint") {
    parts.push(pythonText(names[rule.best]));
    const bounds = given(rule.bounds);
    if (bounds !== "{}") parts.push(bounds, ...(rule.margin === null ? [] : [`margin=${rule.margin}`]));
  } else if (rule.kind === "Lexicographic") {
    parts.push(`[${rule.order.map((j) => pythonText(names[j])).join(", ")}]`);
    for (const [what, numbers] of [
      ["within", rule.within],
      ["standard_errors", rule.errors],
    ]) {
      const set = given(numbers.map((x) => x || null));
      if (set !== "{}") parts.push(`${what}=${set}`);
    }
  } else if (rule.kind === "ReferencePoint") {
    parts.push(given(rule.aspirations));
  } else if (rule.kind === "Weights") {
    parts.push(given(rule.weights), ...(rule.sum ? [] : ['"tchebycheff"']));
  }
  return `pm.rules.${rule.kind}(${parts.join(", ")})`;
}
