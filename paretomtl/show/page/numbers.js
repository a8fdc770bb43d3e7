// Numbers as Python prints them, so that the page's sentences are those of `Front.select`.

// The digits of |x|, `count` of them, and their exponent. Python rounds exact ties to even, JavaScript up.
function rounded(x, count) {
  const [mantissa, exponent] = Math.abs(x)
    .toExponential(count - 1)
    .split("e");
  const exact = Math.abs(x).toExponential(100).split("e");
  const all = exact[0].replace(".", "");
  if (/^50*$/.test(all.slice(count)) && Number(all[count - 1]) % 2 === 0) {
    return [all.slice(0, count), Number(exact[1])];
  }
  return [mantissa.replace(".", ""), Number(exponent)];
}

function signOf(x) {
  return x < 0 || Object.is(x, -0) ? "-" : "";
}

function notFinite(x) {
  return Number.isNaN(x) ? "nan" : `${signOf(x)}inf`;
}

// Python's f"{x:.{count}g}"
function general(x, count = 6) {
  if (!Number.isFinite(x)) return notFinite(x);
  if (x === 0) return `${signOf(x)}0`;
  const [digits, exponent] = rounded(x, count);
  if (exponent < -4 || exponent >= count) {
    const rest = digits.slice(1).replace(/0+$/, "");
    const size = String(Math.abs(exponent)).padStart(2, "0");
    return `${signOf(x)}${digits[0]}${rest && `.${rest}`}e${exponent < 0 ? "-" : "+"}${size}`;
  }
  const whole = exponent < 0 ? "0" : digits.slice(0, exponent + 1);
  const rest = exponent < 0 ? "0".repeat(-exponent - 1) + digits : digits.slice(exponent + 1);
  const kept = rest.replace(/0+$/, "");
  return `${signOf(x)}${whole}${kept && `.${kept}`}`;
}

// Python's f"{x:.{decimals}f}"
function fixed(x, decimals) {
  if (!Number.isFinite(x)) return notFinite(x);
  const size = Math.abs(x);
  const near = size.toFixed(decimals);
  const [whole, rest] = size.toFixed(100).split(".");
  if (size < 1e21 && /^50*$/.test(rest.slice(decimals))) {
    const below = decimals ? `${whole}.${rest.slice(0, decimals)}` : whole;
    if (Number(below.at(-1)) % 2 === 0) return signOf(x) + below;
  }
  return signOf(x) + near;
}

// Python's f"{x:.0%}"
function percent(x) {
  return `${fixed(100 * x, 0)}%`;
}

// A float in Python's source: "1.0" rather than "1".
function pythonFloat(x) {
  return Number.isInteger(x) && Math.abs(x) < 1e16 ? `${signOf(x)}${Math.abs(x)}.0` : String(x);
}

// A text in Python's source; JSON's escapes are Python's too.
function pythonText(text) {
  return JSON.stringify(text);
}

// numpy's round to 9 decimals: half to even, after the product has been rounded
function rint(x) {
  const up = Math.round(x);
  return Math.abs(x % 1) === 0.5 && up % 2 !== 0 ? up - 1 : up;
}

function nineDecimals(x) {
  return rint(x * 1e9) / 1e9;
}

// numpy's sums: one after the other; of eight and more that lie side by side, by eight partial sums.
function sum(numbers, sideBySide = true) {
  const n = numbers.length;
  if (n < 8 || !sideBySide) return numbers.reduce((total, x) => total + x, 0);
  if (n > 128) {
    const half = Math.floor(n / 2) - (Math.floor(n / 2) % 8);
    return sum(numbers.slice(0, half)) + sum(numbers.slice(half));
  }
  const part = numbers.slice(0, 8);
  let i = 8;
  for (; i < n - (n % 8); i += 8) for (let k = 0; k < 8; k++) part[k] += numbers[i + k];
  let total = part[0] + part[1] + (part[2] + part[3]) + (part[4] + part[5] + (part[6] + part[7]));
  for (; i < n; i++) total += numbers[i];
  return total;
}
