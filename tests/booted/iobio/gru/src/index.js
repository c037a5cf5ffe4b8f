// Stands in for iobio-gru-backend's src/index.js, on the real Node.js. Like the real one:
//
// - It takes --port= and --data-dir= (default ./data), and exits where the data or its own file VERSION is missing, or where the
//   data is older than it needs.
// - GET / is JSON with service_description, version and data_version.
// - GET /alignmentHeader?url=URL runs scripts/alignmentHeader.sh, which runs a tool found in PATH.
// - A request that runs out of time is ended by SIGKILL of the script alone: the tool that it started goes on.
//
// What it does not: no other request, no Koa, no CORS; a request has two seconds and not five minutes; the tool is a script that
// makes namespaces as apptainer does, and not an apptainer image.
const { spawn } = require('child_process');
const fs = require('fs');
const http = require('http');
const path = require('path');

const LIMIT_MS = 2000;
const DATA_WANTED = [1, 12, 0];

const options = { port: '9001', 'data-dir': './data' };
for (const word of process.argv.slice(2)) {
  const [, name, value] = word.match(/^--([a-z-]+)=(.*)$/) || [];
  if (!(name in options)) throw new Error(`unknown option ${word}`);
  options[name] = value;
}

const readVersion = (directory) => fs.readFileSync(path.join(directory, 'VERSION'), 'utf8').trim();
const version = readVersion(path.join(__dirname, '..'));
const dataVersion = readVersion(options['data-dir']);
const parts = dataVersion.split('.').map(Number);
const difference = DATA_WANTED.map((wanted, i) => parts[i] - wanted).find((d) => d !== 0) || 0;
if (difference < 0) {
  console.error(`data version ${dataVersion} is older than ${DATA_WANTED.join('.')}`);
  process.exit(1);
}

function runScript(name, words, response) {
  const script = spawn(path.join(__dirname, '../scripts', name), words);
  const limit = setTimeout(() => {
    console.error(`${name} ${words.join(' ')}: out of time`);
    script.kill('SIGKILL');
    response.destroy();
  }, LIMIT_MS);
  script.stdout.pipe(response);
  script.stderr.on('data', (data) => console.error(`${name}: ${data}`));
  script.on('exit', () => clearTimeout(limit));
}

http.createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  if (url.pathname === '/') {
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify({ service_description: 'iobio backend', version, data_version: dataVersion }, null, 2));
  } else if (url.pathname === '/alignmentHeader') {
    runScript('alignmentHeader.sh', [url.searchParams.get('url')], response);
  } else {
    response.statusCode = 404;
    response.end();
  }
}).listen(options.port);
