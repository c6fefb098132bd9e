// Files that are dropped or pasted: they cannot be sent yet, and a browser would open them in place of the page.

import { notifyByName } from "./notices.js";

export function refuseFiles() {
  addEventListener("dragover", (event) => hasFiles(event.dataTransfer) && event.preventDefault());
  addEventListener("drop", (event) => refuse(event, event.dataTransfer));
  // text copied from a document may come with a picture of it
  addEventListener("paste", (event) => event.clipboardData?.getData("text") || refuse(event, event.clipboardData));
}

const hasFiles = (data) => data?.types.includes("Files") ?? false;

function refuse(event, data) {
  if (!hasFiles(data)) return;
  event.preventDefault();
  notifyByName("no-files");
}
