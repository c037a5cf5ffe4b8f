// Stands in for pheno/index.js of iobio-backend-services, on the real Node.js. Like the real one:
//
// - It answers 200 to every path, and to /phenolyzer?term=X at once: {"record":"queued"}, then "pending", and what
//   ./phenolyzer.sif printed once that has ended, from then on out of ./cache. refresh=true asks ./phenolyzer.sif again.
// - A ./phenolyzer.sif that never ends stays pending for ever.
// - A cache that cannot be written is an unhandled rejection: Node.js exits after each finished query.
//
// What it does not: phenolyzer.sif beside it is a script, and not an apptainer image with Phenolyzer in it.
const { spawn } = require('child_process');
const fs = require('fs');
const http = require('http');
const path = require('path');

const pending = new Set();

function cacheFile(term) {
  const name = encodeURIComponent(term);
  return path.join('cache', name.slice(0, 2), name);
}

function rank(term, file) {
  pending.add(file);
  const tool = spawn('./phenolyzer.sif', [term]);
  let ranked = '';
  tool.stdout.on('data', (data) => { ranked += data; });
  tool.stdout.on('end', async () => {
    try { fs.mkdirSync(path.dirname(file), { recursive: true }); } catch (error) { /* writeFile reports it */ }
    await fs.promises.writeFile(file, ranked);
    pending.delete(file);
  });
}

http.createServer(async (request, response) => {
  const url = new URL(request.url, 'http://localhost');
  if (url.pathname.replace(/\/$/, '') !== '/phenolyzer') return response.end();
  const term = url.searchParams.get('term');
  if (!term) {
    response.statusCode = 400;
    return response.end('Must provide term parameter');
  }
  const answer = (record) => response.end(JSON.stringify({ record }));
  response.setHeader('Content-Type', 'application/json');
  const file = cacheFile(term);
  if (pending.has(file)) return answer('pending');
  if (url.searchParams.get('refresh') !== 'true' && fs.existsSync(file)) {
    return answer(fs.readFileSync(file, 'utf8'));
  }
  answer('queued');
  rank(term, file);
}).listen(9001);
