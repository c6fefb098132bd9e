"""Conversations written directly into a server's database, because asking for them takes too long."""

import json

from tests.support.live import LiveServer

LONG = """
from django.utils import timezone
from accounts.models import User
from chat.models import Conversation, Message, new_id
from chat.rendering import RENDERER_VERSION, render
owner = User.objects.get(username={name!r})
made = Conversation.objects.create(owner=owner, agent="chat_assistant", title="A long one")
parent, rows = None, []
for n in range({count}):
    text = {text!r}.replace("%s", str(n))
    role = "assistant" if n % 2 else "user"
    parts = {{"v": 1, "items": [{{"type": "text", "text": text}}]}}
    row = Message(id=new_id(), conversation=made, parent_id=parent, role=role, text=text, parts=parts,
                  agent="chat_assistant" if n % 2 else "", html=render(text) if n % 2 else "",
                  renderer_version=RENDERER_VERSION if n % 2 else 0)
    rows.append(row)
    parent = row.id
Message.objects.bulk_create(rows, batch_size=500)
Conversation.objects.filter(pk=made.pk).update(head=parent)
print("made", made.pk)
"""

MANY = """
from datetime import timedelta
from django.utils import timezone
from accounts.models import User
from chat.models import Conversation
owner, now = User.objects.get(username={name!r}), timezone.now()
days = [now - timedelta(days=2 + n) for n in range({count})]
made = Conversation.objects.bulk_create(
    Conversation(owner=owner, agent="chat_assistant", title=f"Old {{n}}", updated_at=day)
    for n, day in enumerate(days)
)
print("made", made[-1].pk)
"""

# A conversation with all texts in each of its visible fields, and in its owner's name.
HOSTILE = """
import json
from accounts.models import User
from chat.models import Conversation, Message, Run
from chat.rendering import RENDERER_VERSION, render
texts = json.load(open({path!r}))
all_of_them = "\\n\\n".join(texts)
owner = User.objects.get(username={name!r})
User.objects.filter(pk=owner.pk).update(username=(owner.username + all_of_them)[:150])
made = Conversation.objects.create(owner=owner, agent=texts[0][:128], title=all_of_them[:200])
Conversation.objects.bulk_create(
    [Conversation(owner=owner, agent="x", title=text[:200] or "-") for text in texts]
)
tools = [
    {{"type": "tool", "agent": "x", "id": str(n), "name": text, "args": {{text: text}}, "elapsed_ms": 1,
      **outcome}}
    for n, text in enumerate(texts)
    for outcome in [{{"result": {{text: text}}}} if n % 2 else {{"error": text}}]
]
items = [{{"type": "thought", "agent": "x", "text": text}} for text in texts] + tools
parent = None
for text in [all_of_them, *texts]:
    question = Message.objects.create(conversation=made, parent_id=parent, role="user", text=text)
    parent = Message.objects.create(
        conversation=made, parent=question, role="assistant", text=text, agent=text[:128],
        parts={{"v": 1, "items": items if text is all_of_them else []}},
        html=render(text), renderer_version=RENDERER_VERSION,
    ).pk
Conversation.objects.filter(pk=made.pk).update(head=parent)
print("made", made.pk)
"""


def _run(server: LiveServer, code: str) -> str:
    done = server.manage("shell", "-v0", "-c", code)
    assert done.returncode == 0, done.stderr
    return f"/chat/{done.stdout.split('made ')[-1].strip()}/"


def long_conversation(server: LiveServer, name: str, count: int, text: str = "message %s") -> str:
    """Make a conversation of ``count`` messages and return its path; ``%s`` in ``text`` is the number."""
    return _run(server, LONG.format(name=name, count=count, text=text))


def many_conversations(server: LiveServer, name: str, count: int) -> str:
    """Make ``count`` conversations a day apart, "Old 0" and older ones; return the oldest one's path."""
    return _run(server, MANY.format(name=name, count=count))


def hostile_conversation(server: LiveServer, name: str, texts: list[str]) -> str:
    """Make a conversation that has all texts in every place that is displayed; return its path."""
    clean = [text.replace("\x00", "").encode("utf-8", "replace").decode() for text in texts]
    path = server.data_dir / "hostile.json"
    path.write_text(json.dumps(clean))
    return _run(server, HOSTILE.format(name=name, path=str(path)))
