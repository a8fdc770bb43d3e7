// The point whose worst regret is least.

RULES.MinMaxRegret = {
  choose(among) {
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
  },
};
