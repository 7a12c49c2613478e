// Uploads rows, clusters them and downloads the labels, through @grpc/grpc-js and the protos alone.
// node client.mjs ADDRESS PROTO_FOLDER [TOKEN]   prints one JSON object.
import process from "node:process";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [address, protos, token] = process.argv.slice(2);
const files = ["dataset", "job", "artifact", "online"].map((name) => `fastclust/v1/${name}.proto`);
const definition = loader.loadSync(files, { includeDirs: [protos], keepCase: true, longs: Number, enums: String });
const { DatasetService, JobService, ArtifactService, OnlineService } =
  grpc.loadPackageDefinition(definition).fastclust.v1;

const credentials = grpc.credentials.createInsecure();
const [datasets, jobs, artifacts, online] = [DatasetService, JobService, ArtifactService, OnlineService].map(
  (Service) => new Service(address, credentials),
);
const metadata = new grpc.Metadata();
if (token) metadata.set("authorization", `Bearer ${token}`);

function call(client, method, request) {
  return new Promise((resolve, reject) =>
    client[method](request, metadata, (error, response) => (error ? reject(error) : resolve(response))),
  );
}

const table = Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value >>> 0;
});

function crc32c(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = table[(value ^ byte) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

// Four groups of 50 rows in 8 columns, far from one another.
const rows = new Float32Array(200 * 8);
for (let row = 0; row < 200; row++)
  for (let column = 0; column < 8; column++)
    rows[row * 8 + column] = 20 * (row % 4) * (column % 2) + Math.sin(row * 8 + column);
const bytes = Buffer.from(rows.buffer);

async function upload() {
  const session = await call(datasets, "CreateUpload", {
    display_name: "from node",
    kind: "DATASET_KIND_TENSOR",
    tensor: { dtype: "DATA_TYPE_FLOAT32", shape: [200, 8] },
    byte_count: bytes.length,
  });
  await new Promise((resolve, reject) => {
    const stream = datasets.Upload(metadata, (error, response) => (error ? reject(error) : resolve(response)));
    for (let offset = 0; offset < bytes.length; offset += 4096) {
      const data = bytes.subarray(offset, offset + 4096);
      stream.write({ name: session.name, offset, data, crc32c: crc32c(data) });
    }
    stream.end();
  });
  return call(datasets, "FinishUpload", { name: session.name, checksum: { crc32c: crc32c(bytes) } });
}

async function finished(job) {
  let last = job;
  for await (const state of jobs.WatchJob({ name: job.name }, metadata)) last = state;
  return last;
}

async function download(name) {
  const blocks = [];
  for await (const part of artifacts.ReadArtifact({ name }, metadata))
    if (part.block) {
      if (crc32c(part.block.data) !== part.block.crc32c >>> 0) throw new Error("a damaged block");
      blocks.push(part.block.data);
    }
  const whole = Buffer.concat(blocks);
  return Array.from(new Int32Array(whole.buffer, whole.byteOffset, whole.length / 4));
}

const data = await upload();
const job = await call(jobs, "CreateJob", {
  spec: { kmeans: { dataset: data.name, clusters: { fixed: 4 }, random_state: 0 } },
  request_id: "from-node",
});
const done = await finished(job);
const labels = await download(`${job.name}/artifacts/labels`);
const asked = await call(online, "Assign", {
  model: job.name,
  rows: { spec: { dtype: "DATA_TYPE_FLOAT32", shape: [4, 8] }, data: bytes.subarray(0, 4 * 32) },
});
let refused = "";
try {
  await call(jobs, "GetJob", { name: `jobs/${"0".repeat(32)}` });
} catch (error) {
  refused = grpc.status[error.code];
}
const found = Buffer.from(asked.labels.data);
console.log(
  JSON.stringify({
    dataset: data.name,
    rows: data.row_count,
    job: job.name,
    state: done.state,
    labels,
    online: Array.from(new Int32Array(found.buffer, found.byteOffset, 4)),
    refused,
  }),
);
for (const client of [datasets, jobs, artifacts, online]) client.close();
