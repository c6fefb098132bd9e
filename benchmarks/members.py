"""Creation of signed-in members: ``python -m benchmarks.members 50`` writes their session keys as JSON.

Sessions are created directly: fifty sign-ins would take four seconds of Argon2, and are not measured.
"""

import json
import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")


def signed_in(name: str) -> str:
    """Create a member with a session, and return the session key."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore

    from accounts.models import User

    user = User.objects.create_user(name, f"{name}@example.org")
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "allauth.account.auth_backends.AuthenticationBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    assert session.session_key
    return session.session_key


if __name__ == "__main__":
    django.setup()
    keys = [signed_in(f"member{n}") for n in range(int(sys.argv[1]))]
    sys.stdout.write(json.dumps(keys) + "\n")
