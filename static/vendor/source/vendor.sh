#!/bin/sh
# Makes the files in static/vendor from the npm packages named in package.json:
#   cd static/vendor/source && npm ci && npm run vendor
set -eu
modules=node_modules
cp "$modules/htmx.org/dist/htmx.min.js" ../htmx.min.js
cp "$modules/htmx.org/LICENSE" ../htmx.LICENSE
sed -i '/^\/\/# sourceMappingURL=/d' ../htmx.min.js
esbuild="$modules/@esbuild/$(node -p 'process.platform + "-" + process.arch')/bin/esbuild"
"$esbuild" noble.mjs \
  --bundle --format=esm --minify --target=es2022 --legal-comments=inline \
  --outfile=../noble.min.js
cat "$modules/@noble/curves/LICENSE" > ../noble.LICENSE
"$esbuild" walletconnect.mjs \
  --bundle --format=esm --minify --target=es2022 --legal-comments=none \
  --metafile="$modules/walletconnect.json" --outfile=../walletconnect.min.js
node licences.mjs "$modules/walletconnect.json" > ../walletconnect.LICENSE
# Below static/, it would be served.
rm -r "$modules"
cd .. && sha256sum htmx.min.js noble.min.js walletconnect.min.js > SHA256SUMS
