// What the rules of `rules/` share. Each is the twin of its file in `paretomtl/selection/rules/`, line by line on the
// same doubles: same choice, same runners-up, same words.

const SHOWN = 3; // runners-up

// The twins, by the names of Python's classes. Each file of `rules/` adds its own:
// choose(among, rule): the choice. A rule is {kind, …settings}, with objectives by their index.
// and, of a rule with settings,
// settings(state): the settings to begin with.
// rows(controls, rule): the rows of its form.
// python(rule, names): the arguments in Python's source.
const RULES = {};

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

function finiteRow(amounts, names, what) {
  const missing = names.filter((_, j) => !Number.isFinite(amounts[j]));
  if (missing.length) throw new Refused(`give a number for ${missing.join(" and ")}: ${what} for each objective`);
  return amounts;
}

// {kind: "chosen", id, why, runnersUp}; "none" where there is no knee; "infeasible" with the nearest; "refused".
function choose(among, rule) {
  try {
    return RULES[rule.kind].choose(among, rule);
  } catch (error) {
    if (error instanceof Refused) return { kind: "refused", id: null, why: error.message, runnersUp: [] };
    throw error;
  }
}

// The rule as Python writes it; what is 0 or none is left out, as it is by default.
function pythonRule(rule, names) {
  const { python = () => [] } = RULES[rule.kind];
  return `pm.rules.${rule.kind}(${python(rule, names).join(", ")})`;
}

// A mapping from objectives to numbers in Python's source.
function pythonMapping(amounts, names) {
  const entries = names.flatMap((name, j) =>
    Number.isFinite(amounts[j]) ? [`${pythonText(name)}: ${pythonFloat(amounts[j])}`] : [],
  );
  return `{${entries.join(", ")}}`;
}
