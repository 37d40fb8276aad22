// The difference of two texts, word by word, by the greedy algorithm of Myers: "An O(ND) Difference Algorithm and
// Its Variations", 1986.

const MAX_LENGTH = 100_000; // characters of a text
const MAX_EDITS = 1500; // words that are removed or added; time and memory grow with their square

/** Return what is `same`, `removed` and `added` in order, as `{kind, text}`; null if the texts differ too much. */
export function difference(before, after) {
  if (Math.max(before.length, after.length) > MAX_LENGTH) return null;
  const [one, other] = [words(before), words(after)];
  let start = 0;
  while (start < Math.min(one.length, other.length) && one[start] === other[start]) start += 1;
  let rest = 0;
  while (rest < Math.min(one.length, other.length) - start && one.at(-1 - rest) === other.at(-1 - rest)) rest += 1;
  const changes = edits(one.slice(start, one.length - rest), other.slice(start, other.length - rest));
  if (changes === null) return null;
  const same = (list) => list.map((text) => ({ kind: "same", text }));
  return joined([...same(one.slice(0, start)), ...changes, ...same(one.slice(one.length - rest))]);
}

function words(text) {
  return Array.from(new Intl.Segmenter(undefined, { granularity: "word" }).segment(text), ({ segment }) => segment);
}

/** Return the shortest way from one list of words to another, or null if it is too long. */
function edits(one, other) {
  const furthest = new Int32Array(2 * MAX_EDITS + 3); // by diagonal, how far into the first list it is the same
  const middle = MAX_EDITS + 1;
  const rounds = [];
  for (let round = 0; round <= MAX_EDITS; round += 1) {
    rounds.push(furthest.slice(middle - round - 1, middle + round + 2));
    for (let diagonal = -round; diagonal <= round; diagonal += 2) {
      const at = middle + diagonal;
      let x = isAdded(furthest, at, diagonal, round) ? furthest[at + 1] : furthest[at - 1] + 1;
      while (x < one.length && x - diagonal < other.length && one[x] === other[x - diagonal]) x += 1;
      furthest[at] = x;
      if (x >= one.length && x - diagonal >= other.length) return traced(rounds, one, other);
    }
  }
  return null;
}

function isAdded(furthest, at, diagonal, round) {
  return diagonal === -round || (diagonal !== round && furthest[at - 1] < furthest[at + 1]);
}

/** Follow the rounds back from the end. */
function traced(rounds, one, other) {
  const found = [];
  let [x, y] = [one.length, other.length];
  const back = (kind) => {
    if (kind !== "added") x -= 1;
    if (kind !== "removed") y -= 1;
    found.push({ kind, text: kind === "added" ? other[y] : one[x] });
  };
  for (let round = rounds.length - 1; round > 0; round -= 1) {
    const diagonal = x - y;
    const at = round + 1 + diagonal; // the round has the diagonals from -round - 1
    const added = isAdded(rounds[round], at, diagonal, round);
    const from = rounds[round][added ? at + 1 : at - 1] + (added ? 0 : 1);
    while (x > from) back("same");
    back(added ? "added" : "removed");
  }
  while (x > 0) back("same");
  return found.reverse();
}

/** Join neighbours of one kind. White space between two changes is a part of both, so that a phrase stays whole. */
function joined(pieces) {
  const result = [];
  let [removed, added] = ["", ""];
  const flush = () => {
    if (removed !== "") result.push({ kind: "removed", text: removed });
    if (added !== "") result.push({ kind: "added", text: added });
    [removed, added] = ["", ""];
  };
  pieces.forEach(({ kind, text }, index) => {
    const isBetween = kind === "same" && removed + added !== "" && text.trim() === "" && (pieces[index + 1]?.kind ?? "same") !== "same";
    if (kind === "removed" || isBetween) removed += text;
    if (kind === "added" || isBetween) added += text;
    if (kind !== "same" || isBetween) return;
    flush();
    if (result.at(-1)?.kind === "same") result.at(-1).text += text;
    else result.push({ kind, text });
  });
  flush();
  return result;
}
