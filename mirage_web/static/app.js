'use strict';
const $ = (id) => document.getElementById(id);
const isVideo = location.pathname === '/video';
const viewer = new Viewer($('viewer'), $('stage'), $('before'), $('after'), $('handle'), $('slider'), $('zoom'));
const jobs = [];
let info = null, shown = null, sending = Promise.resolve();

async function start() {
  $(isVideo ? 'to-video' : 'to-photos').setAttribute('aria-current', 'page');
  if (isVideo) { $('drop-title').textContent = 'Drop a video here'; $('files').accept = 'video/*,.mkv,.avi'; }
  info = await (await fetch('/api/info')).json();
  const {megabytes, megapixels, seconds} = info.limits;
  $('limits').textContent = `or choose ${isVideo ? 'it' : 'them'}: up to ${megabytes} MB, `
    + (isVideo ? `${seconds} seconds` : `${megapixels} megapixels each`);
  fill($('model'), info.models, info.default_model);
  fill($('precision'), info.precisions, 'fp32');
  if (!isVideo) for (const name of info.examples) {
    const button = document.createElement('button'), image = document.createElement('img');
    image.src = `/examples/${name}`; image.alt = `example: ${name.replace(/\..*/, '')}`;
    button.append(image);
    button.addEventListener('click', async () => add(new File([await (await fetch(image.src)).blob()], name)));
    $('strip').append(button);
    $('examples').hidden = false;
  }
}

function fill(select, names, chosen) {
  for (const name of names) select.add(new Option(name, name, name === chosen, name === chosen));
}

function say(text) { $('message').textContent = text; }

function add(file) {
  say('');
  const item = document.createElement('li');
  item.innerHTML = '<span class="name"></span><span class="state"></span><progress hidden></progress>'
    + '<button aria-label="Remove">\u00d7</button>';
  item.querySelector('.name').textContent = file.name;
  const job = {file, item, id: null, state: 'here', removed: false};
  item.addEventListener('click', () => { if (job.state === 'done') show(job); });
  item.querySelector('button').addEventListener('click', (e) => { e.stopPropagation(); remove(job); });
  $('jobs').prepend(item);
  jobs.push(job);
  update(job, 'here', 'waits to be sent');
  sending = sending.then(() => send(job)).catch((error) => update(job, 'failed', String(error.message || error)));
}

function update(job, state, text, progress = null) {
  job.state = state; job.item.dataset.state = state;
  job.item.querySelector('.state').textContent = text;
  const bar = job.item.querySelector('progress');
  bar.hidden = progress === null;
  if (progress !== null) bar.value = progress;
}

async function send(job) {
  if (job.removed) return;
  if (job.file.size > info.limits.megabytes * 1e6) {
    update(job, 'failed', `${job.file.name}: is larger than ${info.limits.megabytes} MB, which is allowed here`);
    return;
  }
  update(job, 'here', 'is sent\u2026');
  const asked = new URLSearchParams({name: job.file.name, model: $('model').value, precision: $('precision').value,
    strength: $('strength').value / 100, keep_tone: $('keep-tone').checked ? 1 : 0});
  let answer;
  for (;;) {
    answer = await fetch(`/api/jobs?${asked}`, {method: 'POST', body: job.file, headers: {'content-type': 'application/octet-stream'}})
      .catch(() => { throw new Error('The server does not answer; is it still running?'); });
    if (answer.status !== 503) break;
    update(job, 'here', (await answer.json()).error);
    await new Promise((next) => setTimeout(next, 2000));
    if (job.removed) return;
  }
  const described = await answer.json();
  if (!answer.ok) { update(job, 'failed', described.error); return; }
  job.id = described.id;
  follow(job);
}

async function follow(job) {
  for (;;) {
    if (job.removed) return;
    let told;
    try {
      const answer = await fetch(`/api/jobs/${job.id}`);
      told = await answer.json();
      if (!answer.ok) { update(job, 'failed', told.error); return; }
    } catch { update(job, 'failed', 'The server does not answer; is it still running?'); return; }
    if (told.state === 'done') {
      job.words = told.words; job.result = told.result;
      update(job, 'done', 'restored');
      if (shown === null || shown.state !== 'done' || job === jobs[jobs.length - 1]) show(job);
      return;
    }
    if (told.state === 'failed' || told.state === 'given up') { update(job, 'failed', told.words); return; }
    if (told.state === 'waiting') update(job, 'waiting', `waits: ${told.before_it} before it`);
    if (told.state === 'working') update(job, 'working', 'is restored\u2026', told.progress);
    await new Promise((next) => setTimeout(next, 300));
  }
}

async function show(job) {
  shown = job;
  for (const other of jobs) other.item.toggleAttribute('aria-current', other === job);
  $('result').hidden = false;
  $('words').textContent = `${job.file.name}: ${job.words}`;
  $('download').href = `/api/jobs/${job.id}/result`;
  $('download').download = job.result;
  const film = /\.(mp4|m4v|mov|webm|mkv)$/i.test(job.result);
  $('film').hidden = !film;
  $('film').src = film ? $('download').href : '';
  try {
    await viewer.show(`/api/jobs/${job.id}/before`, `/api/jobs/${job.id}/after`);
    $('viewer').dataset.ready = job.id;
  } catch { say(`${job.file.name}: was thrown away on the server, or cannot be shown; send it again`); }
}

function remove(job) {
  job.removed = true;
  if (job.id) fetch(`/api/jobs/${job.id}`, {method: 'DELETE'});
  job.item.remove();
  jobs.splice(jobs.indexOf(job), 1);
  if (shown === job) { shown = null; $('result').hidden = true; }
}

$('strength').addEventListener('input', () => { $('strength-shown').textContent = `${$('strength').value} %`; });
$('files').addEventListener('change', () => { for (const file of $('files').files) add(file); $('files').value = ''; });
for (const kind of ['dragover', 'dragleave', 'drop']) document.addEventListener(kind, (e) => {
  e.preventDefault();
  $('drop').classList.toggle('over', kind === 'dragover');
  if (kind === 'drop') for (const file of e.dataTransfer.files) add(file);
});
$('drop').addEventListener('keydown', (e) => { if (e.key === 'Enter' || e.key === ' ') $('files').click(); });
$('in').addEventListener('click', () => viewer.zoom(1.5));
$('out').addEventListener('click', () => viewer.zoom(1 / 1.5));
$('fit').addEventListener('click', () => viewer.fit());
$('full').addEventListener('click', () => viewer.full());
$('again').addEventListener('click', () => { if (shown) add(shown.file); });
// Whoever leaves takes the files along: nothing of them stays on the server.
addEventListener('pagehide', (e) => {
  if (!e.persisted) for (const job of jobs) if (job.id) fetch(`/api/jobs/${job.id}`, {method: 'DELETE', keepalive: true});
});
start().catch(() => say('The server does not answer; is it still running?'));
