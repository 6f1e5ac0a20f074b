// Prints the licence of every package that esbuild took code from: node licences.mjs meta.json
import fs from "node:fs";

const { outputs } = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const taken = Object.values(outputs).flatMap(({ inputs }) =>
  Object.entries(inputs)
    .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
    .map(([path]) => path.match(/^.*node_modules\/(?:@[^/]+\/)?[^/]+/)?.[0]),
);
const folders = [...new Set(taken.filter(Boolean))].sort();

for (const folder of folders) {
  const { name, version, license, author } = JSON.parse(fs.readFileSync(`${folder}/package.json`, "utf8"));
  const file = fs.readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
  const by = typeof author === "string" ? author : author?.name;
  const text = file ? fs.readFileSync(`${folder}/${file}`, "utf8").trim() : `By ${by ?? "its contributors"}; the package contains no text of the licence.`;
  console.log(`=== ${name} ${version}: ${license}\n\n${text}\n`);
}
