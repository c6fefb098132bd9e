// The microphone button: says why nobody can speak here, or loads the modules of a call (live/) and begins one.

import { questionOf } from "./asking.js";
import { announceText, clearNotice, notify, notifyByName } from "./notices.js";
import { clone, uiString } from "./ui_strings.js";

export function startCallButton(composer, asking, following, view) {
  const button = /** @type {HTMLButtonElement} */ (document.getElementById("speak"));
  const { title } = button;
  let isStarting = false;

  // Return why this browser, or else the agent, cannot; "" if both can.
  function obstacle() {
    if (!isSecureContext) return uiString("call-insecure");
    if (!navigator.mediaDevices?.getUserMedia || !("AudioWorkletNode" in window)) return uiString("call-unsupported");
    const [chosen] = composer.fields.agent?.selectedOptions ?? [];
    return (chosen ?? composer.form).dataset.noVoice;
  }

  function update() {
    const reason = obstacle();
    button.title = reason || title;
    button.ariaDisabled = reason ? "true" : null;
  }

  async function begin() {
    if (button.ariaDisabled) return notify(button.title);
    if (document.body.dataset.state !== "idle") return notifyByName("still-busy");
    if (isStarting || composer.call) return;
    isStarting = true;
    clearNotice();
    try {
      const { startCall } = await import("./live/call.js");
      composer.call = await startCall({
        composer, following, view, button, announceText, clearNotice, clone, notify, notifyByName, questionOf, uiString,
        openConversation: () => composer.conversation ?? asking.openConversation(),
        onEnd: () => {
          composer.call = null;
        },
      });
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      notifyByName("unreachable");
    } finally {
      isStarting = false;
    }
  }

  composer.fields.agent?.addEventListener("change", update);
  button.addEventListener("click", begin);
  update();
}
