// Matches texts with JavaScript's regular expressions, as a validator of JSON Schemas does: anywhere in the text.
//
// Reads lines of a pattern and a text, each in Base64, separated by a space; prints true or false for each.

import { readFileSync } from "node:fs";

const decode = (field) => Buffer.from(field, "base64").toString("utf8");

for (const line of readFileSync(0, "ascii").split("\n")) {
  const [pattern, text] = line.split(" ").map(decode);
  console.log(new RegExp(pattern, "u").test(text));
}
