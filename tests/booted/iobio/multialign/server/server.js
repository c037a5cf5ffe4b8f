// Stands in for server/server.js of multialign, on the real Node.js. Like the real one:
//
// - It reads ./certs/*.pem at its start, writes ./persist_cache, and listens on 80 and 443 whatever PORT says.
// - It serves every file beside itself, the hidden ones as well (certbot's challenges).
// - /phylop?build=B&region=R runs get_phylop_scores.sh in ~/multialign/scripts and answers 200 with what that printed, also
//   where it failed and printed nothing.
// - A ./persist_cache that cannot be made is an unhandled rejection: Node.js exits.
//
// What it does not: no /sequence, no Express; scripts/bigwig beside it is a script.
const { execFile } = require('child_process');
const fs = require('fs');
const http = require('http');
const https = require('https');
const os = require('os');
const path = require('path');

const pem = (name) => fs.readFileSync(`./certs/${name}.pem`, 'utf8');
const credentials = { key: pem('privkey'), cert: pem('cert'), ca: pem('chain') };

function answer(request, response) {
  const url = new URL(request.url, 'http://localhost');
  if (url.pathname === '/phylop') {
    const words = ['./get_phylop_scores.sh', url.searchParams.get('build'), url.searchParams.get('region')];
    const cwd = path.join(os.homedir(), 'multialign/scripts');
    execFile('bash', words, { cwd }, (error, stdout) => response.end(stdout));
    return;
  }
  const file = path.join(__dirname, path.normalize(url.pathname === '/' ? '/index.html' : url.pathname));
  fs.readFile(file, (error, data) => {
    response.statusCode = error ? 404 : 200;
    response.end(data);
  });
}

(async () => {
  await fs.promises.mkdir('persist_cache', { recursive: true });
  await fs.promises.writeFile('persist_cache/last-start', new Date().toISOString());
  http.createServer(answer).listen(80);
  https.createServer(credentials, answer).listen(443);
})();
