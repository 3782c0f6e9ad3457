// Drives a kintone site with the official client and prints what happened as one JSON object, step by step.
// Usage: node drive.mjs BASE_URL TOKEN APP
import { createHash } from "node:crypto";
import { KintoneRestAPIClient } from "@kintone/rest-api-client";

const [baseUrl, apiToken, app] = process.argv.slice(2);
const client = new KintoneRestAPIClient({ baseUrl, auth: { apiToken } });
const seen = {};

async function step(name, work) {
  try {
    seen[name] = await work();
  } catch (e) {
    // A KintoneRestAPIError has a code; anything else is shown as it is.
    seen[name] = { status: e.status, code: e.code, paths: Object.keys(e.errors ?? {}), name: e.name };
  }
}

const row = (i) => ({ msgid: { value: `m${i}` }, seq: { value: i } });
const rows = (from, n) => Array.from({ length: n }, (_, i) => row(from + i));
const values = (record) => Object.fromEntries(Object.entries(record).map(([code, { value }]) => [code, value]));

await step("fields", async () => Object.keys((await client.app.getFormFields({ app })).properties).sort());
await step("addRecord", () => client.record.addRecord({ app, record: row(0) }));
await step("addRecords", () => client.record.addRecords({ app, records: rows(1, 3) }));
await step("upsert", () =>
  client.record.updateRecords({
    app,
    upsert: true,
    records: [
      { updateKey: { field: "msgid", value: "m3" }, record: { status: { value: "FINISHED" } } },
      { updateKey: { field: "msgid", value: "m4" }, record: { msgtime: { value: "2026-11-22T09:02:03+08:00" } } },
    ],
  }),
);
// 250 rows go through bulkRequest, and come back by $id in pages and by a cursor.
await step("addAllRecords", async () => (await client.record.addAllRecords({ app, records: rows(100, 250) })).records.length);
await step("getAllRecords", async () => {
  const all = await client.record.getAllRecords({ app, fields: ["msgid"], condition: 'msgid != "m0"' });
  return { n: all.length, first: all[0].msgid.value, last: all.at(-1).msgid.value };
});
await step("getAllRecordsWithCursor", async () => (await client.record.getAllRecordsWithCursor({ app, query: "order by seq desc" })).length);
await step("getRecords", async () => {
  const got = await client.record.getRecords({ app, query: 'msgid in ("m4")', totalCount: true });
  return { total: got.totalCount, values: values(got.records[0]) };
});
await step("file", async () => {
  const data = Buffer.from("内容".repeat(1000));
  const { fileKey } = await client.file.uploadFile({ file: { name: "截图 日本語.png", data } });
  await client.record.updateRecord({ app, id: 1, record: { file: { value: [{ fileKey }] } } });
  const [file] = (await client.record.getRecord({ app, id: 1 })).record.file.value;
  const back = Buffer.from(await client.file.downloadFile({ fileKey: file.fileKey }));
  return { name: file.name, size: file.size, same: back.equals(data), sha256: createHash("sha256").update(back).digest("hex") };
});
await step("unknownFile", () => client.record.updateRecord({ app, id: 1, record: { file: { value: [{ fileKey: "nope" }] } } }));
await step("101", () => client.record.addRecords({ app, records: rows(1000, 101) }));
await step("duplicate", () => client.record.addRecords({ app, records: [row(1000), row(1)] }));
await step("missingKey", () => client.record.updateRecords({ app, records: [{ updateKey: { field: "msgid", value: "nope" }, record: {} }] }));
await step("conflict", () => client.record.updateRecord({ app, id: 1, revision: 99, record: {} }));
await step("allRecordsError", () => client.record.addAllRecords({ app, records: [...rows(2000, 100), row(1)] }).catch((e) => { throw e.error; }));
await step("deleteRecords", () => client.record.deleteRecords({ app, ids: [2, 3] }));
await step("wrongToken", () => new KintoneRestAPIClient({ baseUrl, auth: { apiToken: "nobody" } }).record.getRecord({ app, id: 1 }));

console.log(JSON.stringify(seen));
