// Files that are dropped anywhere on the page, or pasted, become files of the next message.

import { notifyByName } from "./notices.js";

// `attachments` takes them, if the page has a composer that is open.
export function startDropping(attachments) {
  const target = document.getElementById("drop-target");
  let depth = 0; // of dragenter events: one comes for each element on the way

  const show = (isShown) => {
    target.hidden = !isShown;
    if (!isShown) depth = 0;
  };
  addEventListener("dragenter", (event) => {
    if (!hasFiles(event.dataTransfer)) return;
    depth += 1;
    show(true);
  });
  addEventListener("dragleave", (event) => {
    if (!hasFiles(event.dataTransfer)) return;
    depth -= 1;
    if (depth <= 0) show(false);
  });
  addEventListener("dragover", (event) => hasFiles(event.dataTransfer) && event.preventDefault());
  addEventListener("drop", (event) => {
    show(false);
    take(event, event.dataTransfer);
  });
  // text copied from a document may come with a picture of it
  addEventListener("paste", (event) => event.clipboardData?.getData("text") || take(event, event.clipboardData));

  function take(event, data) {
    if (!hasFiles(data)) return;
    event.preventDefault(); // else the browser opens it in place of the page
    if (document.querySelector("dialog[open]")) return;
    if (document.querySelector("#standing[data-closed]")) return notifyByName("no-files");
    attachments.add([...data.files]);
  }
}

const hasFiles = (data) => data?.types.includes("Files") ?? false;
