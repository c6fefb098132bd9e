"""Template context about accounts."""

from django.conf import settings
from django.http import HttpRequest


def sign_up(request: HttpRequest) -> dict[str, bool]:
    return {"signup_is_open": settings.SIGNUP_IS_OPEN}
