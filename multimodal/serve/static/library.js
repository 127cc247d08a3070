// Uploads with their progress to the end of ingestion, and removal.
import { ask, element } from "./common.js";

const list = document.getElementById("uploads");
const drop = document.getElementById("drop");
const file = document.getElementById("file");
const rows = new Map(); // a job's key -> line
const key = (job) => `${job.what} ${job.video || job.name}`;
let watching = 0;

function line(name) {
  const made = element("li");
  const bar = element("progress", "", { max: "1", "aria-label": `Upload of ${name}` });
  const said = element("span", "", { class: "small" });
  made.append(element("bdi", name), " ", bar, " ", said);
  list.append(made);
  return { made, bar, said };
}

function upload(one) {
  return new Promise((done) => {
    const { bar, said, made } = line(one.name);
    const request = new XMLHttpRequest(); // fetch tells nothing of what is sent
    request.open("POST", `/api/videos?name=${encodeURIComponent(one.name)}`);
    request.setRequestHeader("content-type", "application/octet-stream");
    request.upload.addEventListener("progress", (event) => { if (event.lengthComputable) bar.value = event.loaded / event.total; });
    request.addEventListener("load", () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* said below */ }
      bar.remove();
      if (request.status === 202) {
        rows.set(key(answer), { made, said });
        said.textContent = "uploaded; waiting";
        watch();
      } else {
        said.textContent = `refused: ${answer.detail ?? request.status}`;
        said.classList.add("bad");
      }
      done();
    });
    request.addEventListener("error", () => { bar.remove(); said.textContent = "the connection broke"; said.classList.add("bad"); done(); });
    request.send(one);
  });
}

async function take(files) {
  for (const one of files) await upload(one);
}

async function watch() {
  clearTimeout(watching);
  const { uploads } = await ask("/api/uploads");
  let busy = false;
  for (const job of uploads) {
    if (!rows.has(key(job)) && (job.state === "waiting" || job.state === "running")) {
      const { made, bar, said } = line(job.name);
      bar.remove();
      rows.set(key(job), { made, said });
    }
    const row = rows.get(key(job));
    if (!row) continue;
    row.said.textContent = `${job.state}${job.said ? `: ${job.said}` : ""}`;
    row.said.className = `small ${job.state === "failed" ? "bad" : ""}`;
    if (job.state === "done" && job.video && !row.link) {
      row.link = element("a", "Open", { href: `/video/${job.video}` });
      row.made.append(" ", row.link);
    }
    busy ||= job.state === "waiting" || job.state === "running";
  }
  if (busy) watching = setTimeout(watch, 1500);
}

if (drop) {
  file.addEventListener("change", () => { take([...file.files]); });
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => { event.preventDefault(); take([...event.dataTransfer.files]); });
  watch();
}

/** A job that another part of the page began is shown with the uploads. */
function began(job) {
  const { made, bar, said } = line(job.name);
  bar.remove();
  rows.set(key(job), { made, said });
  watch();
  made.scrollIntoView({ block: "nearest" });
}

document.getElementById("folder")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const folder = new FormData(event.target).get("folder");
  try {
    began(await ask("/api/folders", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ folder }) }));
  } catch (error) {
    const { bar, said } = line(folder);
    bar.remove();
    said.textContent = error.message;
    said.classList.add("bad");
  }
});

// Another model or language for the transcript of one video.
const hear = document.getElementById("hear");
let heard = null;
for (const button of document.querySelectorAll(".again")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    heard = button;
    const form = document.getElementById("hearing");
    form.elements.whisper.value = button.dataset.whisper;
    form.elements.language.value = button.dataset.language;
    document.getElementById("hear-words").textContent = `Transcribe ${button.dataset.name} again?`;
    document.getElementById("hear-said").textContent = "";
    hear.showModal();
  });
}
document.getElementById("not-now")?.addEventListener("click", () => hear.close());
document.getElementById("hearing")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = Object.fromEntries([...new FormData(event.target)].map(([name, value]) => [name, value || null]));
  try {
    began(await ask(`/api/videos/${heard.closest("tr").dataset.video}/transcript`, { method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify(said) }));
    Object.assign(heard.dataset, { whisper: said.whisper ?? "", language: said.language ?? "" });
    hear.close();
  } catch (error) {
    document.getElementById("hear-said").textContent = error.message;
  }
});

// A run of another process, as it goes on.
const run = document.getElementById("run");
async function follow() {
  try {
    const now = await ask("/api/run");
    if (now.process) {
      run.hidden = false;
      document.getElementById("run-said").textContent = now.said;
    } else if (!run.hidden) {
      run.textContent = "The run has ended. Load the page again to see what it made.";
    }
  } catch { /* asked again */ }
  setTimeout(follow, 2000);
}
if (run) follow();

const sure = document.getElementById("sure");
let chosen = null;
for (const button of document.querySelectorAll(".remove")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    chosen = button;
    document.getElementById("sure-words").textContent = `Remove ${button.dataset.name} from the store?`;
    document.getElementById("sure-said").textContent = "";
    sure.showModal();
  });
}
document.getElementById("no")?.addEventListener("click", () => sure.close());
document.getElementById("yes")?.addEventListener("click", async () => {
  const row = chosen.closest("tr");
  try {
    await ask(`/api/videos/${row.dataset.video}`, { method: "DELETE" });
    row.remove();
    sure.close();
  } catch (error) {
    document.getElementById("sure-said").textContent = error.message;
  }
});
