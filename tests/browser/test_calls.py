"""Calls: the bar and the sound against a stand-in of the server, with Chromium's fake microphone."""

import re
import struct
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Visit
from tests.browser.lines import CALL, Line
from tests.browser.test_accessibility import DESKTOP, PHONE, axe_violations
from tests.support.live import LiveServer, Member

SPOKEN = Path(__file__).parent / "question.wav"  # espeak-ng: "What time is it in Tokyo?", 16 kHz
BEFORE_SECONDS, AFTER_SECONDS = 0.5, 2.0
SECOND_BYTES = 32_000  # of 16 kHz sound

# The peak of what the page plays, by a second connection beside the one to the speaker.
LISTEN = """(() => {
    const connect = AudioNode.prototype.connect;
    AudioNode.prototype.connect = function (target, ...rest) {
        if (target instanceof AudioDestinationNode) {
            const analyser = target.context.createAnalyser();
            const samples = new Float32Array(analyser.fftSize);
            connect.call(this, analyser);
            window.peak = () => (analyser.getFloatTimeDomainData(samples), Math.max(...samples));
        }
        return connect.call(this, target, ...rest);
    };
})()"""


def with_pauses(path: Path) -> Path:
    """Write the spoken question with silence around it: the fake microphone plays a file again and again."""
    with wave.open(str(SPOKEN)) as spoken, wave.open(str(path), "wb") as written:
        written.setparams(spoken.getparams())
        for seconds in (BEFORE_SECONDS, AFTER_SECONDS):
            written.writeframes(bytes(int(SECOND_BYTES * seconds)))
            written.writeframes(spoken.readframes(spoken.getnframes()))
    return path


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Browser], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Launch a Chromium that hears the spoken question, and lets each page hear it."""
    path = with_pauses(tmp_path_factory.mktemp("microphone") / "question.wav")
    browser = launch(
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={path}",
    )
    yield browser
    browser.close()


def call(page: Page, path: str = "/") -> Line:
    """Open a call on the page, which a stand-in answers."""
    line = Line(page)
    page.goto(path)
    page.wait_for_load_state()
    press_speak(page)
    expect(sign(page)).to_have_text("Listening")
    return line


def press_speak(page: Page) -> None:
    page.get_by_role("button", name="Speak", exact=True).click()


def sign(page: Page) -> Locator:
    return page.locator(".call-state")


def peak(pcm: bytes) -> int:
    return max(map(abs, struct.unpack(f"<{len(pcm) // 2}h", pcm)), default=0)


@pytest.fixture
def alice(server: LiveServer, sign_up: Callable[[LiveServer, str], Member]) -> Member:
    return sign_up(server, "alice")  # one of her own: a new conversation for each test


def test_a_call_begins_a_conversation_and_sends_what_the_microphone_hears(
    visit: Visit, alice: Member
) -> None:
    page = visit(alice)
    line = call(page)
    expect(page).to_have_url(re.compile("/chat/[0-9a-f-]{36}/"))
    assert page.url.split("/")[-2] in line.sockets[0].url
    line.wait_for(lambda: len(line.audio) > 3 * SECOND_BYTES)
    frames = [each for each in line.received if isinstance(each, bytes)]
    assert {len(each) for each in frames} == {1280}  # 40 ms
    assert peak(line.audio) > 3000
    assert min(peak(line.audio[at : at + 3200]) for at in range(0, len(line.audio), 3200)) < 50  # the pauses
    assert line.types == ["audio"]
    page.get_by_role("button", name="Hang up").click()
    expect(page.locator(".call-bar")).to_have_count(0)
    expect(page.get_by_role("button", name="Speak", exact=True)).to_be_focused()
    line.wait_for(lambda: line.closed == [1000])
    assert page.evaluate("'call' in document.body.dataset") is False


def test_the_answer_is_heard_and_counted(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    page.add_init_script(LISTEN)
    line = call(page)
    line.say(1.5)
    expect(sign(page)).to_have_text("Speaking")
    line.wait_for(lambda: page.evaluate("peak()") > 0.2)
    line.send(type="turn")
    expect(sign(page)).to_have_text("Listening")
    line.wait_for(lambda: line.played == 1500)
    assert page.evaluate("peak()") == 0
    counts = [each["ms"] for each in line.frames if each["type"] == "played"]
    assert counts == sorted(counts)
    assert len(counts) >= 7  # every 200 ms


def test_stop_flushes_the_answer_and_says_first_how_much_was_heard(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    page.add_init_script(LISTEN)
    line = call(page)
    line.say(5)
    line.wait_for(lambda: line.played >= 600)
    page.get_by_role("button", name="Stop the answer").click()
    line.wait_for(lambda: "stop" in line.types)
    controls = [each["type"] for each in line.frames]
    assert controls[controls.index("stop") - 1] == "played"
    heard = line.played
    line.say(1)  # was on its way
    page.wait_for_timeout(400)
    assert line.played == heard < 1500
    assert page.evaluate("peak()") == 0
    line.send(type="interrupted")
    expect(sign(page)).to_have_text("Listening")
    line.say(1)  # of the next answer
    expect(sign(page)).to_have_text("Speaking")
    line.wait_for(lambda: 0 < line.played < heard)


def test_an_interruption_by_the_server_flushes_the_answer(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    line = call(page)
    line.say(5)
    line.wait_for(lambda: line.played >= 400)
    line.send(type="interrupted")
    expect(sign(page)).to_have_text("Listening")
    page.wait_for_timeout(300)
    assert 400 <= line.played < 2000


def test_a_muted_call_sends_no_sound(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    line = call(page)
    mute = page.get_by_role("button", name="Mute")
    expect(mute).to_be_focused()  # the bar is reached without a search for it
    line.wait_for(lambda: line.audio)
    page.keyboard.press("Space")
    expect(mute).to_have_attribute("aria-pressed", "true")
    expect(sign(page)).to_have_text("Muted")
    line.wait_for(lambda: line.types == ["audio", "mute"])
    page.wait_for_timeout(300)
    assert line.types == ["audio", "mute"]
    page.keyboard.press("Space")
    expect(sign(page)).to_have_text("Listening")
    line.wait_for(lambda: line.types == ["audio", "mute", "audio"])


def test_push_to_talk_by_a_key_and_by_the_button(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    line = call(page)
    page.get_by_role("button", name="Microphone and speaker").click()
    page.get_by_label("Push to talk").check()
    line.wait_for(lambda: line.types[-1] == "mute")
    expect(sign(page)).to_have_text("Hold Space to talk")
    line.received.clear()
    page.locator("main").focus()
    page.keyboard.down("Space")
    expect(sign(page)).to_have_text("Listening")
    line.wait_for(lambda: len(line.audio) > SECOND_BYTES / 4)
    page.keyboard.up("Space")
    line.wait_for(lambda: line.types == ["start", "audio", "end"])
    expect(sign(page)).to_have_text("Thinking…")
    line.send(type="turn")
    line.received.clear()
    talk = page.get_by_role("button", name="Hold to talk")
    talk.hover()
    page.mouse.down()
    line.wait_for(lambda: line.audio)
    page.mouse.up()
    line.wait_for(lambda: line.types == ["start", "audio", "end"])
    line.received.clear()
    page.get_by_label("Message", exact=True).press_sequentially("a b")  # here Space writes
    assert page.get_by_label("Message", exact=True).input_value() == "a b"
    page.reload()
    press_speak(page)
    expect(page.get_by_role("button", name="Hold to talk")).to_be_focused()  # it is remembered
    assert "start" not in line.types


def test_a_lost_call_is_resumed_by_its_name(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    line = call(page)
    line.send(type="resuming")
    line.close(1012)
    expect(page.locator("#announcer")).to_have_text("Reconnecting…")
    line.wait_for(lambda: len(line.sockets) == 2)
    assert line.sockets[1].url.endswith(f"/?call={CALL}")
    expect(sign(page)).to_have_text("Listening")
    line.received.clear()
    line.wait_for(lambda: line.audio)


@pytest.mark.parametrize(
    ("code", "detail", "shown"),
    [
        (4401, "", "You are signed out. Sign in again"),
        (4403, "A workflow cannot speak.", "A workflow cannot speak."),
        (4404, "", "This conversation is no longer there."),
        (4408, "Nobody has spoken for a while.", "Nobody has spoken for a while."),
        (4409, "", "A call or an answer is open already."),
        (4423, "", "A moderator has locked this conversation."),
        (4429, "", "You have spoken for as long as a day allows."),
    ],
)
def test_a_call_that_the_server_closes_says_why(
    visit: Visit, alice: Member, code: int, detail: str, shown: str
) -> None:
    page = visit(alice)
    line = call(page)
    line.close(code, detail)
    expect(page.locator("#notice")).to_have_text(re.compile(rf"^\s*{re.escape(shown)}\s*$"))
    expect(page.locator(".call-bar")).to_have_count(0)
    page.wait_for_timeout(700)
    assert len(line.sockets) == 1


def test_a_message_is_sent_over_the_call(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    line = call(page)
    message = page.get_by_label("Message", exact=True)
    message.fill("How late is it?")
    message.press("Enter")
    expect(message).to_have_value("")
    line.wait_for(lambda: {"type": "text", "text": "How late is it?"} in line.frames)
    expect(sign(page)).to_have_text("Thinking…")
    line.send(type="turn")
    line.sockets[-1].close(code=1012)
    expect(sign(page)).to_have_text("Reconnecting…")


def test_the_time_left_is_shown_near_the_end(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    line = Line(page, seconds=63)
    page.goto("/")
    page.wait_for_load_state()
    press_speak(page)
    expect(page.locator(".call-left")).to_have_text(re.compile(r"^1:0\d left$"))
    expect(page.locator("#announcer")).to_have_text("1:00 left")
    assert line.sockets


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("NotAllowedError", "The browser does not let this page use the microphone."),
        ("NotFoundError", "There is no microphone."),
        ("NotReadableError", "The microphone cannot be used."),
    ],
)
def test_a_page_without_a_microphone_says_why(visit: Visit, alice: Member, error: str, shown: str) -> None:
    page = visit(alice)
    page.add_init_script(
        f"navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', '{error}'))"
    )
    line = Line(page)
    page.goto("/")
    page.wait_for_load_state()
    press_speak(page)
    expect(page.locator("#notice")).to_contain_text(shown)
    expect(page.locator(".call-bar")).to_have_count(0)
    assert line.sockets == []
    assert page.url.endswith("/")  # no conversation was made for it
    message = page.get_by_label("Message", exact=True)
    message.fill("Then I write")
    message.press("Enter")
    expect(page.locator("article.assistant")).to_be_visible()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("Object.defineProperty(window, 'isSecureContext', {value: false})", "only over HTTPS"),
        ("delete window.AudioWorkletNode", "This browser cannot take calls."),
    ],
)
def test_the_button_says_why_a_page_cannot_take_calls(
    visit: Visit, alice: Member, script: str, reason: str
) -> None:
    page = visit(alice)
    page.add_init_script(script)
    page.goto("/")
    page.wait_for_load_state()
    button = page.get_by_role("button", name="Speak", exact=True)
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(button).to_have_attribute("title", re.compile(reason))
    button.click(force=True)
    expect(page.locator("#notice")).to_contain_text(reason)


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_in_a_call(visit: Visit, alice: Member, device: dict[str, object]) -> None:
    page = visit(alice, **device)
    line = call(page)
    page.get_by_role("button", name="Microphone and speaker").click()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert (scheme, axe_violations(page)) == (scheme, [])
    page.get_by_label("Push to talk").check()
    line.say(2)
    expect(sign(page)).to_have_text("Speaking")
    assert axe_violations(page) == []
    sideways = "(element) => element.scrollWidth - element.clientWidth"
    assert page.locator("html").evaluate(sideways) == 0
    for button in page.locator(".call-bar button").all():
        expect(button).to_be_in_viewport() if button.is_visible() else None


def test_a_narrow_phone_has_room_for_the_bar(visit: Visit, alice: Member) -> None:
    page = visit(alice, viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True)
    call(page)
    box = page.locator(".call-bar").bounding_box()
    assert box
    assert box["height"] < 80  # one row
    for name in ("Mute", "Microphone and speaker", "Hang up"):
        button = page.get_by_role("button", name=name).bounding_box()
        assert button
        assert button["width"] >= 44
        assert button["x"] + button["width"] <= 320
