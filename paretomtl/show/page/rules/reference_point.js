// Nearest to what one aspires to, by the augmented achievement function.

const AUGMENTATION = 1e-4; // weight of the sum of the misses

RULES.ReferencePoint = {
  choose(among, { aspirations }) {
    const goals = finiteRow(aspirations, among.names, "an aspiration");
    const varies = range(among.m).filter((j) => among.spans[j]);
    const text = among.names.map((name, j) => `${name} ${general(goals[j])}`).join(", ");
    if (!varies.length) return among.chosen(range(among.n), `${among.named(0)} is equal to every other point`);
    const miss = among.costs.map((c) => varies.map((j) => (c[j] - among.signs[j] * goals[j]) / among.spans[j]));
    const order = ranked(miss.map((row) => largest(row) + AUGMENTATION * sum(row, false)));
    const [k] = order;
    const most = largest(miss[k]);
    const where = among.names[varies[miss[k].indexOf(most)]];
    const amount = `${general(Math.abs(most), 3)} of the front's range, in ${where}`;
    const far = most > 0 ? `misses them by at most ${amount}` : `betters each by at least ${amount}`;
    return among.chosen(order, `${among.named(k)} comes nearest to ${text}: it ${far}`);
  },

  // the best of every measure, rounded
  settings({ among, signs, flat, best, worst }) {
    const utopia = among.low.map((c, j) => signs[j] * (flat[j] ? c : looser(c, worst[j] - best[j])));
    return { aspirations: utopia };
  },

  rows(controls, rule) {
    return rule.aspirations.map((value, j) =>
      controls.row(
        j,
        controls.field(value, `aspiration for ${controls.state.among.names[j]}`, (x) => {
          rule.aspirations[j] = x;
          controls.set({});
        }),
      ),
    );
  },

  python: ({ aspirations }, names) => [pythonMapping(aspirations, names)],
};
