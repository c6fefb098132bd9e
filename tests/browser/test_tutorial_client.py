"""The tutorial's EventSource client, unchanged except for its address, against a real server."""

import re
from itertools import pairwise

from playwright.sync_api import expect

from tests.browser.conftest import SignUp, Visit
from tests.support.gemini import Call, Gemini, Pause, Text, Thought
from tests.support.live import LiveServer, Member

# "Client-Side JavaScript" in section 6 of the tutorial, without its host and port.
SNIPPET = """
// Connect to SSE endpoint
const eventSource = new EventSource('/chat/stream?query=Hello');

eventSource.onmessage = (event) => {
    if (event.data === '[DONE]') {
        eventSource.close();
        return;
    }
    
    const data = JSON.parse(event.data);
    // Display chunk in UI
    document.getElementById('response').innerHTML += data.text;
};

eventSource.onerror = (error) => {
    console.error('SSE Error:', error);
    eventSource.close();
};
"""  # noqa: W293
BLANK = "<!DOCTYPE html><html><head><title>Blank</title></head><body><p id='response'></p></body></html>"


def run_the_snippet(visit: Visit, member: Member, expected: str) -> None:
    before = len(member.http.get("/api/v1/conversations?limit=100").json()["items"])
    page = visit(member)
    page.route("**/blank", lambda route: route.fulfill(content_type="text/html", body=BLANK))
    page.goto("/blank")
    seen = page.evaluate_handle(
        """(snippet) => {
            const seen = [];
            const response = document.getElementById("response");
            const record = () => seen.push(response.textContent);
            new MutationObserver(record).observe(response, { childList: true });
            window.source = new Function(snippet + "return eventSource;")();
            return seen;
        }""",
        SNIPPET,
    )
    expect(page.locator("#response")).to_contain_text(re.compile(re.escape(expected)))
    page.wait_for_timeout(3000)  # longer than EventSource would take to reconnect
    assert page.evaluate("window.source.readyState") == 2
    states = seen.json_value()
    assert len(states) > 2, states  # it arrived in pieces
    assert all(later.startswith(earlier) for earlier, later in pairwise(states))
    after = member.http.get("/api/v1/conversations?limit=100").json()["items"]
    assert len(after) == before + 1
    messages = member.http.get(f"/api/v1/conversations/{after[0]['id']}").json()["messages"]["items"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[0]["text"] == "Hello"
    assert page.locator("#response").text_content() == messages[1]["text"]


def test_the_tutorials_script_streams_and_closes(
    visit: Visit, server: LiveServer, gemini: Gemini, sign_up: SignUp
) -> None:
    gemini.on(
        "Hello",
        [Thought("A greeting."), Text("One "), Text("moment."), Call("calculate", {"expression": "6*7"})],
        [Text("It "), Pause(0.3), Text("is "), Pause(0.3), Text("42.")],
    )
    run_the_snippet(visit, sign_up(server, "erin"), "It is 42.")
    assert gemini.calls_for("Hello") == 2  # one question: the tool call, and the answer to its result


def test_the_tutorials_script_streams_without_a_key(
    visit: Visit, demo_server: LiveServer, sign_up: SignUp
) -> None:
    run_the_snippet(visit, sign_up(demo_server, "erin"), "that I know our conversation")
