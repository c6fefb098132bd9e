"""Template tags of moderation."""

from typing import Any

from django import template

from chat.models import Conversation
from chat.moderation import grants
from chat.moderation.models import GRANT_MINUTES, AccessGrant

register = template.Library()


@register.inclusion_tag("admin/moderation/_grant_bar.html", takes_context=True)
def grant_bar(context: Any, conversation: Conversation | None, grant: AccessGrant | None = None) -> Any:
    """Show by which grant the page is read and until when, with the buttons that extend and end it."""
    request = context["request"]
    if conversation is not None and grant is None:
        grant = grants.grant_of(request.user, conversation)
    return {
        "grant": grant,
        "conversation": conversation,
        "minutes": GRANT_MINUTES,
        "csrf_token": context.get("csrf_token"),
        "query": request.GET.urlencode(),
    }
